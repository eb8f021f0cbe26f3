"""Rule 1: no password and no key in what a failed exchange with a KDC leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from securestream.drive import Services, respond_blocking
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine
from securestream.principal import unauthenticated
from securestream.provider import Established, Handshake, SecurityContext
from securestream.redaction import Secret
from securestream_providers.kerberos.client import (
    ClientSettings,
    PasswordKeys,
    Session,
    change_password,
    initial_ticket,
    service_ticket,
)
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.krb5.messages import EncryptedData, EncryptionKey
from securestream_providers.krb5.numbers import ErrorCode
from tests.core.canaries import Canaries, report
from tests.providers.kerberos.driving import drive, options
from tests.providers.kerberos.scripted_kdc import ALICE, CONFIG, NOW, PASSWORD, SERVICE, ScriptedKdc, same

KEYS = PasswordKeys(Secret(PASSWORD))
NEW = "canary-new-password-4711"


def session(**settings: Any) -> Session:
    return Session(ClientSettings(CONFIG, **settings), options(lambda: NOW))


def failure(part: Any, kdc: ScriptedKdc) -> SecureStreamError:
    """What a sub-handshake raises, driven as it is in earnest."""

    def whole() -> Handshake:
        yield from part
        return Established(cast("SecurityContext", None), unauthenticated("Kerberos"))

    services = Services()
    for effect, answer in kdc.answers().items():
        services.register(effect, blocking=answer)
    with pytest.raises(SecureStreamError) as caught:
        respond_blocking(HandshakeMachine(whole()), None, services)
    return caught.value


def lie_in_part(change: Callable[[Any], Any]) -> Callable[[ScriptedKdc], None]:
    def lie(kdc: ScriptedKdc) -> None:
        kdc.part = change

    return lie


def lie_in_reply(change: Callable[[Any], Any]) -> Callable[[ScriptedKdc], None]:
    def lie(kdc: ScriptedKdc) -> None:
        kdc.reply = change

    return lie


def refuse(kdc: ScriptedKdc) -> None:
    kdc.errors = [ErrorCode.POLICY]


LIES: dict[str, Callable[[ScriptedKdc], None]] = {
    "nonce": lie_in_part(lambda part: replace(part, nonce=0)),
    "key that is none": lie_in_part(lambda part: replace(part, key=EncryptionKey(18, part.key.keyvalue[:20]))),
    "type of the key": lie_in_part(lambda part: replace(part, key=EncryptionKey(17, part.key.keyvalue))),
    "ciphertext": lie_in_reply(lambda reply: replace(reply, enc_part=EncryptedData(18, None, bytes(80)))),
    "expired": lie_in_part(lambda part: replace(part, endtime=NOW)),
    "refused": refuse,
    "malformed": lie_in_reply(lambda reply: replace(reply, ticket=b"\x61\x00")),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("exchange", ["AS", "AS in FAST", "TGS"])
def test_a_failed_exchange_shows_no_secret(lie: str, exchange: str) -> None:
    kdc, asking, canaries = ScriptedKdc(), session(), Canaries()
    tgt = drive(initial_ticket(asking, ALICE, KEYS), kdc.answers()).ticket
    seen: list[bytes] = []

    def note(part: Any) -> Any:
        seen.append(part.key.keyvalue)
        return part

    LIES[lie](kdc)
    lying = kdc.part
    kdc.part = lambda part: lying(note(part)) if lying is not same else note(part)
    if exchange == "TGS":
        error = failure(service_ticket(asking, tgt, SERVICE), kdc)
    else:
        armor = tgt if "FAST" in exchange else None
        error = failure(initial_ticket(session(armor=armor), ALICE, KEYS), kdc)
    canaries.add("password", PASSWORD)
    canaries.add("long-term key", kdc.long_term().contents.reveal())
    canaries.add("session key", tgt.key.contents.reveal())
    for key in seen:
        canaries.add("new session key", key)
    for text in (str(error), repr(error), report(error)):
        assert not canaries.found_in(text)


def test_a_failed_change_shows_neither_password() -> None:
    kdc, canaries = ScriptedKdc(), Canaries()
    answer = kdc.ask

    def ask(effect: KdcRequest) -> bytes:
        return b"\0\6\0\1\0\0" if effect.service is KdcService.PASSWORD else answer(effect)

    kdc.ask = ask  # type: ignore[method-assign]  # an honest KDC beside a server that babbles
    error = failure(change_password(session(), ALICE, KEYS, Secret(NEW)), kdc)
    canaries.add("new password", NEW)
    canaries.add("password", PASSWORD)
    canaries.add("long-term key", kdc.long_term().contents.reveal())
    for text in (str(error), repr(error), report(error)):
        assert not canaries.found_in(text)


def test_what_is_passed_on_shows_no_secret() -> None:
    kdc, asking, canaries = ScriptedKdc(), session(), Canaries()
    made = drive(initial_ticket(asking, ALICE, KEYS), kdc.answers())
    canaries.add("password", PASSWORD)
    canaries.add("session key", made.ticket.key.contents.reveal())
    for thing in (made, made.ticket, KEYS, asking, asking.settings, kdc.requests[0]):
        assert not canaries.found_in(f"{thing!r} {thing}")
