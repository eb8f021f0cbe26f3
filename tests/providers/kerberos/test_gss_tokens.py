"""Tokens that others made: MIT krb5's, captured live, and those of other projects, read from ``../shared``."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, ContextFlags, Options, Protection, Role
from securestream.provider import Cover, FirstUse
from securestream_providers.kerberos import Kerberos, KerberosContext
from securestream_providers.kerberos.context import OLD, Keys, Session, gss_prf
from securestream_providers.krb5.gss_checksum import GssChecksum, GssFlag
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.messages import Authenticator
from securestream_providers.krb5.names import KerberosName
from tests.providers.kerberos.ends import CONFIG, keytab, package, weak_of

LIVE: list[dict[str, Any]] = json.loads(Path(__file__).with_name("live_captures.json").read_text())["vectors"]
by_capture = pytest.mark.parametrize("vector", LIVE, ids=[vector["id"] for vector in LIVE])
PROTECTED = ContextFlags.CONFIDENTIALITY | ContextFlags.INTEGRITY


def octets(text: str) -> bytes:
    """Of hexadecimal digits."""
    return bytes.fromhex(text)


def context(
    key: Key, role: Role, *, acceptor: bool = True, dce: bool = False, sent: int = 0, confounder: bytes | None = None
) -> KerberosContext:
    """A context with a known key, which takes messages in any order."""
    flags = PROTECTED | (ContextFlags.DCE_STYLE if dce else ContextFlags.NONE)
    keys = Keys(key, key, key if acceptor else None)

    def draw(size: int) -> bytes:
        return random.Random(1).randbytes(size) if confounder is None else (confounder * size)[:size]

    return KerberosContext(Session(role, flags, keys, sent, 0), lambda: pytest.fail("no clock is asked"), draw)


@by_capture
def test_mits_messages_open(vector: dict[str, Any]) -> None:
    key = make_key(vector["etype"], octets(vector["per_message_key"]))
    message = octets(vector["message"])
    dce = vector["id"].endswith("dce")
    for name, text in vector["tokens"].items():
        end = context(key, Role.ACCEPTOR if name.endswith("_i") else Role.INITIATOR, dce=dce)
        if name.startswith("wrap"):
            assert end.unwrap(octets(text)) == (message, "conf" in name)
        else:
            end.verify(message, octets(text))


@by_capture
def test_mits_numbers_and_signatures_are_made_again(vector: dict[str, Any]) -> None:
    """MIC tokens and unsealed ones have nothing random in them but, in old ones, a confounder."""
    key = make_key(vector["etype"], octets(vector["per_message_key"]))
    message = octets(vector["message"])
    for name, role in (("mic_i", Role.INITIATOR), ("mic_a", Role.ACCEPTOR)):
        numbers = {vector["initiator_seq"] if role is Role.INITIATOR else vector["acceptor_seq"]}
        first = numbers.pop()
        made = {context(key, role, sent=first + ahead).sign(message) for ahead in range(4)}
        assert octets(vector["tokens"][name]) in made


def test_mits_message_in_parts_opens() -> None:
    vector = next(vector for vector in LIVE if "iov_dce" in vector)
    iov = vector["iov_dce"]
    end = context(make_key(18, octets(vector["per_message_key"])), Role.ACCEPTOR, dce=True)
    parts = [
        (octets(iov["sign_only_header"]), Cover.SIGNED),
        (octets(iov["ciphertext"]), Cover.SEALED),
        (octets(iov["sign_only_trailer"]), Cover.SIGNED),
    ]
    assert end.unseal(parts, octets(iov["header_token"]))[1] == octets(iov["plaintext"])
    made = context(make_key(18, octets(vector["per_message_key"])), Role.INITIATOR, dce=True)
    signature = made.seal([(b"x" * 16, Cover.SEALED)]).signature
    assert signature[4:8] == octets(iov["header_token"])[4:8]
    assert len(signature) == len(octets(iov["header_token"]))


@by_capture
def test_mits_handshake_is_accepted(vector: dict[str, Any]) -> None:
    """The whole AP-REQ, at the time at which it was made, with its bindings."""
    session = make_key(vector["etype"], octets(vector["session_key"]))
    stated = Authenticator.decode(octets(vector["authenticator"]))
    now = stated.ctime + timedelta(seconds=1)
    name = KerberosName.parse(vector["service_principal"])
    asked = Options(
        clock=lambda: now,
        random=random.Random(1).randbytes,
        protection=Protection.ENCRYPT_AND_SIGN,
        channel_bindings=ChannelBindings(octets(vector["channel_bindings_application_data"])),
        binding_policy=BindingPolicy.ALWAYS,
    )
    services = Services()
    services.register(FirstUse, blocking=lambda effect: True)
    held = keytab(*((name, kvno, make_key(vector["etype"], octets(vector["service_key"]))) for kvno in range(1, 4)))
    config = package(config=CONFIG, weak=weak_of(vector["etype"]))
    machine = HandshakeMachine(config.accept(held, asked))
    step = respond_blocking(machine, octets(vector["context_tokens"][0]), services)
    assert step.token is not None
    if vector["id"].endswith("dce"):
        return  # the third token answers MIT's own number
    assert step.established is not None
    assert step.established.peer.name == "user"
    accepted = step.established.result
    assert isinstance(accepted, KerberosContext)
    assert accepted.bound
    assert ContextFlags.MUTUAL in accepted.flags
    assert session.etype == vector["etype"]


@pytest.fixture(scope="module")
def foreign(shared: Path) -> dict[str, dict[str, Any]]:
    """The vectors of other projects."""
    content = json.loads((shared / "vectors" / "gss_krb5_tokens.json").read_text())
    return {vector["id"]: vector for vector in content["vectors"]}


def test_another_projects_unsealed_token(foreign: dict[str, dict[str, Any]]) -> None:
    vector = foreign["gokrb5-wrap-initiator"]
    key = make_key(17, octets(vector["key"]))
    assert context(key, Role.ACCEPTOR, acceptor=False).unwrap(octets(vector["token"])) == (octets("01010000"), False)
    made = context(key, Role.INITIATOR, acceptor=False).wrap(octets("01010000"), encrypt=False)
    assert made == octets(vector["token"])


def test_another_projects_mic(foreign: dict[str, dict[str, Any]]) -> None:
    vector = foreign["gokrb5-mic-initiator"]
    made = context(make_key(17, octets(vector["key"])), Role.INITIATOR, acceptor=False).sign(octets("deadbeef"))
    assert made == octets(vector["token"])


def test_windows_message_in_parts(foreign: dict[str, dict[str, Any]]) -> None:
    vector = foreign["windows-dce-cfx-aes256"]
    end = context(make_key(18, octets(vector["acceptor_subkey"])), Role.ACCEPTOR, dce=True)
    parts = [
        (octets(vector["sign_only_header"]), Cover.SIGNED),
        (octets(vector["ciphertext"]), Cover.SEALED),
        (octets(vector["sign_only_trailer"]), Cover.SIGNED),
    ]
    assert end.unseal(parts, octets(vector["token"]))[1] == octets(vector["plaintext"])


def test_the_specifications_rc4_message(foreign: dict[str, dict[str, Any]]) -> None:
    """[MS-KILE] 4.5: its data is padded by one octet, which here is the caller's."""
    vector = foreign["ms-kile-4.5-rc4-wrapex"]
    key = make_key(23, octets(vector["session_key"]))
    made = context(key, Role.INITIATOR, dce=True, sent=vector["seq"], confounder=octets(vector["confounder"]))
    sealed = made.seal([(octets(vector["plaintext"]) + b"\1", Cover.SEALED)])
    assert sealed.parts[0] == octets(vector["ciphertext"])
    assert sealed.signature[: len(octets(vector["token_header"]))] == octets(vector["token_header"])


def test_another_projects_rc4_mic(foreign: dict[str, dict[str, Any]]) -> None:
    vector = foreign["impacket-rc4-mic-init"]
    made = context(make_key(23, octets(vector["session_key"])), Role.INITIATOR, sent=vector["seq"])
    assert made.sign(octets(vector["message"])) == octets(vector["token"])


def test_every_vector_is_used(foreign: dict[str, dict[str, Any]]) -> None:
    assert set(foreign) == {
        *("gokrb5-wrap-initiator", "gokrb5-mic-initiator", "windows-dce-cfx-aes256"),
        *("ms-kile-4.5-rc4-wrapex", "impacket-rc4-mic-init"),
    }


def test_the_pseudo_random_function(shared: Path, record_property: Callable[[str, object], None]) -> None:
    """RFC 4402, as MIT's test has it."""
    vectors = json.loads((shared / "vectors" / "gss_krb5_prf.json").read_text())["vectors"]
    for vector in vectors:
        out = octets(vector["output"])
        assert gss_prf(make_key(vector["enctype"], octets(vector["key"])), octets(vector["input"]), len(out)) == out
    record_property("vectors", len(vectors))
    assert len(vectors) == 12


def test_a_windows_clients_request(shared: Path) -> None:
    """Kerberos.NET's sample: ticket, authenticator, PAC and all."""
    vectors = json.loads((shared / "vectors" / "kerberos_ap_samples.json").read_text())["vectors"]
    vector = next(one for one in vectors if one["id"] == "kerberosnet-apreq-aes256")
    stated = Authenticator.decode(octets(vector["authenticator"]))
    services = Services()
    services.register(FirstUse, blocking=lambda effect: True)
    name = KerberosName.parse(f"{vector['sname']}@{vector['realm']}")
    held = keytab((name, vector["kvno"], make_key(18, octets(vector["service_key"]))))
    asked = Options(clock=lambda: stated.ctime, random=random.Random(1).randbytes)
    machine = HandshakeMachine(Kerberos(config=CONFIG, pac="required").accept(held, asked))
    step = respond_blocking(machine, base64.b64decode(vector["gss_krb5_token_b64"]), services)
    assert step.established is not None
    peer = step.established.peer
    assert (peer.name, peer.authority) == ("user.test", "DOMAIN.COM")
    assert peer.sid is not None
    assert peer.groups


def test_flags_have_the_numbers_of_the_specification() -> None:
    checksum = GssChecksum(GssFlag.MUTUAL | GssFlag.DCE_STYLE)
    assert checksum.pack()[20:] == b"\x02\x10\x00\x00"
    assert GssChecksum.unpack(checksum.pack()) == checksum
    assert set(OLD) == {16, 23}
