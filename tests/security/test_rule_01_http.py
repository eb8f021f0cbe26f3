"""Rule 1: no password in what a failed authentication over HTTP leaves behind, at either end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import count

import pytest

from securestream.credentials import Accounts, Credentials, Keytab, Password
from securestream.errors import SecureStreamError
from securestream.http.client import HttpClient
from securestream.http.fields import encode_token, parse_authorization, parse_challenges
from securestream.http.performing import http_options
from securestream.http.schemes import ClientScheme, HttpField, HttpReply, HttpRequest, Origin
from securestream.http.server import HttpServer
from securestream.http.tokens import TokenScheme
from securestream_providers.digest import DigestClient, DigestServer
from securestream_providers.kerberos import EmbeddedKdc, Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.core.canaries import Canaries, mutations, report
from tests.core.http.conversations import Alter, Conversation

SECRET = "canary-password-4711"
OTHER = "canary-password-4712"
REQUEST = HttpRequest("GET", "/page", Origin("http", "localhost", 80))
_SOURCES = count(1)
SCHEMES = ("Negotiate", "NTLM", "Digest")


class Damaged(Conversation):
    """Whose client's credentials are altered on the way at one leg."""

    def damage(self, leg: int, name: str) -> None:
        self.leg, self.name = leg, name

    def ask(self, authorization: str | None, request: HttpRequest = REQUEST) -> HttpReply:
        if authorization is not None and len(self.sent) == self.leg:
            authorization = _mutated(authorization, self.name)
        return super().ask(authorization, request)


def _mutated(value: str, name: str) -> str:
    found = parse_authorization(value)
    assert found is not None
    if found.token68 is None:  # Digest
        return value.replace('response="', 'response="0').replace('rspauth="', 'rspauth="0')
    return encode_token(found.scheme, mutations()[name](found.token or b""))


@cache
def _stores() -> tuple[EmbeddedKdc, Keytab, Accounts]:
    kdc = EmbeddedKdc("EXAMPLE.COM")
    kdc.add_principal("alice", SECRET)
    return kdc, kdc.add_service("HTTP/localhost"), Accounts.memory(alice=SECRET)


def _conversation(scheme: str, client: str) -> Damaged:
    kdc, keytab, accounts = _stores()
    negotiate = Negotiate(Kerberos(config=kdc.config), Ntlm())
    forms = Credentials(keytab, accounts)
    server = HttpServer(
        TokenScheme("Negotiate", negotiate, forms),
        TokenScheme("NTLM", Ntlm(), accounts),
        DigestServer(accounts, "example"),
    )
    who = Password("alice", client)
    answers: dict[str, ClientScheme] = {
        "Negotiate": TokenScheme("Negotiate", negotiate, Password("alice@EXAMPLE.COM", client)),
        "NTLM": TokenScheme("NTLM", Ntlm(), who),
        "Digest": DigestClient(who),
    }
    options = replace(http_options(), source=f"192.0.2.{next(_SOURCES)}")  # nobody is throttled for another's failure
    talk = Damaged(server, HttpClient(REQUEST.origin, answers[scheme]), options=options, services=kdc.services())
    talk.damage(-1, "")
    return talk


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_password_is_left_behind(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    canaries = Canaries()
    canaries.add("password", SECRET)
    canaries.add("wrong password", OTHER)
    talks = [_conversation(scheme, SECRET), _conversation(scheme, OTHER)]
    legs = 2 if scheme == "NTLM" else 1
    for name in sorted(mutations())[::3]:
        for leg in range(legs):
            talks += [_conversation(scheme, SECRET), _conversation(scheme, SECRET)]
            talks[-2].damage(leg + 1, name)
            talks[-1].alter = _altering(leg + 1, name)
    failures = 0
    for number, talk in enumerate(talks):
        outcome, left = None, ""
        try:
            outcome = talk.fetch(REQUEST)
        except SecureStreamError as error:
            left = report(error)
        assert canaries.found_in(left) == set()
        assert number > 0 or outcome is not None
        failures += outcome is None
        shown = (talk.server, talk.client, talk.connection, talk.admitted, outcome, *talk.client.schemes)
        assert canaries.found_in(" ".join(map(repr, shown))) == set()
    assert failures > len(talks) // 3
    assert canaries.found_in(caplog.text) == set()


def _altering(leg: int, name: str) -> Alter:
    def alter(number: int, fields: list[HttpField]) -> Sequence[HttpField]:
        if number != leg:
            return fields
        return [field._replace(value=_damaged(field, name)) for field in fields]

    return alter


def _damaged(field: HttpField, name: str) -> str:
    if not field.name.endswith("Authenticate"):
        return field.value.replace('rspauth="', 'rspauth="0')
    challenge = parse_challenges(field.value)[0]
    if challenge.token is None:
        return field.value
    return encode_token(challenge.scheme, mutations()[name](challenge.token))


def test_the_report_would_find_one() -> None:
    canaries = Canaries()
    canaries.add("password", SECRET)
    request = replace(REQUEST, target=SECRET)
    assert canaries.found_in(repr(request)) == {"password"}
