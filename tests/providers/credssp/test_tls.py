"""The TLS around CredSSP as it is used in earnest: several certificates, clients' certificates, resumption, damage."""

from __future__ import annotations

import pytest

from securestream.credentials import Credentials
from securestream.options import Role
from securestream.provider import SecurityContext, TargetName
from securestream.records.base import PlainData, RecordConnection
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.providers.credssp.ends import ACCOUNTS, ALICE, ALLOWED, CA, SERVER, End, Meddle, meet

ANY = Delegation("TERMSRV/*")
both_engines = pytest.mark.parametrize("engine", ["stdlib", "pyopenssl"])
both_versions = pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])


def connection_of(end: End) -> RecordConnection:
    result = end.outcome.result
    assert not isinstance(result, SecurityContext)
    return result


@both_engines
def test_the_key_is_that_of_the_certificate_that_the_client_was_shown(engine: Engine) -> None:
    other = CA.leaf(["other.example.com"])
    serving = Credentials(SERVER.credential, other.credential, ACCOUNTS)
    client = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegation=ANY)
    server = CredSsp(Ntlm(), Schannel(engine=engine))
    for name, expected in (("other.example.com", other), ("server.example.com", SERVER)):
        ends = meet(client, server, accepting=serving, target=TargetName(f"TERMSRV/{name}")).raise_any()
        assert ends.delegated == ALICE
        assert connection_of(ends.client).session.peer_certificate == expected.der
        assert connection_of(ends.server).session.own_certificate == expected.der


@both_engines
@both_versions
def test_a_clients_certificate_is_for_tls_and_makes_nobody_else_of_it(engine: Engine, tls: Version) -> None:
    certificate = CA.leaf(["client.example.com"], usage=["client"])
    client = CredSsp(Ntlm(), Schannel(trust=CA.pem, engine=engine, maximum_version=tls), delegation=ALLOWED)
    server = CredSsp(Ntlm(), Schannel(trust=CA.pem, engine=engine, client_certificates="required"))
    ends = meet(client, server, initiating=Credentials(ALICE, certificate.credential)).raise_any()
    assert ends.server.outcome.peer.name == "alice"
    assert ends.delegated == ALICE
    assert connection_of(ends.server).session.peer_certificate == certificate.der
    refused = meet(client, server)
    assert refused.server.established is None


@both_versions
def test_no_session_is_resumed_though_the_package_could(tls: Version) -> None:
    """Windows' servers fail where one is."""
    client = CredSsp(Ntlm(), Schannel(trust=CA.pem, maximum_version=tls), delegation=ALLOWED)
    server = CredSsp(Ntlm(), Schannel())
    for _ in range(3):
        ends = meet(client, server).raise_any()
        assert ends.delegated == ALICE
        sender, receiver = connection_of(ends.server), connection_of(ends.client)
        sender.send(b"tickets came before this")
        receiver.receive_data(sender.data_to_send())
        assert receiver.next_event() == PlainData(b"tickets came before this")
        assert receiver.next_event() is None
        assert not receiver.session.resumed


def test_the_package_without_resumption_is_made_once() -> None:
    package = Schannel(trust=CA.pem)
    assert package.unresumed() is package.unresumed() is not package
    assert package.unresumed().unresumed() is package.unresumed()


@both_engines
@both_versions
@pytest.mark.parametrize("where", [0.5, 1.0], ids=["middle", "end"])
def test_every_damaged_flight_ends_it(engine: Engine, tls: Version, where: float) -> None:
    client = CredSsp(
        Ntlm(), Schannel(trust=CA.pem, engine=engine, maximum_version=tls, resumption=False), delegation=ALLOWED
    )
    server = CredSsp(Ntlm(), Schannel(engine=engine))
    plain = meet(client, server).raise_any()
    for end in (plain.client, plain.server):
        for number in range(len(end.sent)):
            ends = meet(client, server, _damaging(end.role, number, where))
            assert ends.server.established is None, (end.role, number)


def _damaging(who: Role, which: int, where: float) -> Meddle:
    def meddle(role: Role, number: int, token: bytes) -> bytes:
        if (role, number) != (who, which):
            return token
        at = int((len(token) - 1) * where)
        return token[:at] + bytes((token[at] ^ 0x01,)) + token[at + 1 :]

    return meddle
