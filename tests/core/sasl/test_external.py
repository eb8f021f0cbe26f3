"""EXTERNAL (RFC 4422 appendix A): only over a TLS connection whose client proved itself by a certificate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from securestream.credentials import Certificate
from securestream.errors import InvalidToken, LogonDenied, QualityNotMet, UsageError
from securestream.options import ContextFlags, Role
from securestream.principal import NameType, Principal, unauthenticated
from securestream.records.base import RecordConnection, TlsSession
from securestream.sasl import External
from tests.core.sasl.ends import SEAL, acceptor, initiator, meet, options, stepped

ALICE = Principal("alice.example", "Schannel", "CN=authority", NameType.DNS)
CERTIFICATE = Certificate(b"-----BEGIN")


@dataclass
class Connection:
    """What EXTERNAL asks of a TLS connection."""

    certificate: bytes | None = b"certificate"
    complete: bool = True

    @property
    def session(self) -> TlsSession:
        if not self.complete:
            raise UsageError("the handshake is not complete")
        return TlsSession("TLSv1.3", "cipher", peer_certificate=self.certificate)


CONNECTED = Connection()


def external(peer: Principal | None = ALICE, connection: Connection | None = CONNECTED, **more: Any) -> External:
    """A server's mechanism on a connection."""
    return External(connection=cast("RecordConnection | None", connection), peer=peer, **more)


CLIENT, SERVER = External(), external()


def test_the_client_is_whom_its_certificate_stands_for() -> None:
    found = meet(CLIENT, SERVER, CERTIFICATE, None)
    assert found.outcomes[1].peer == ALICE
    assert found.layers[1].flags is ContextFlags.NONE
    assert found.tokens == [b""]
    assert meet(CLIENT, SERVER, CERTIFICATE, None, initial=False).outcomes[1].peer == ALICE


def test_an_authorisation_identity_must_be_granted() -> None:
    found = meet(External(authzid="alice.example"), SERVER, CERTIFICATE, None)
    assert found.tokens == [b"alice.example"]
    assert found.layers[1].authzid == "alice.example"
    assert meet(External(authzid="root"), SERVER, CERTIFICATE, None).kinds == {Role.ACCEPTOR: "NOT_AUTHORIZED"}

    def authorize(principal: Principal, authzid: str) -> bool:
        return (principal, authzid) == (ALICE, "root")

    granting = external(authorize=authorize)
    assert meet(External(authzid="root"), granting, CERTIFICATE, None).layers[1].authzid == "root"


UNPROVED = [
    External(),
    external(peer=None),
    external(connection=None),
    external(peer=unauthenticated("Schannel")),
    external(peer=replace(ALICE, name_type=NameType.ANONYMOUS)),
    external(connection=Connection(certificate=None)),
    external(connection=Connection(complete=False)),
]


@pytest.mark.parametrize("mechanism", UNPROVED)
def test_without_a_verified_certificate_it_refuses(mechanism: External) -> None:
    assert mechanism.usable(None, Role.ACCEPTOR) is not None
    with pytest.raises(LogonDenied, match="no certificate"):
        stepped(acceptor(mechanism, None, options()), b"")


def test_what_it_needs() -> None:
    assert SERVER.usable(None, Role.ACCEPTOR) is None
    assert CLIENT.usable(CERTIFICATE, Role.INITIATOR) is None
    assert CLIENT.usable(None, Role.INITIATOR) is not None


@pytest.mark.parametrize("token", [b"a\0b", b"\xff", b"x" * 1025])
def test_an_authorisation_identity_that_is_none_is_refused(token: bytes) -> None:
    with pytest.raises(InvalidToken):
        stepped(acceptor(SERVER, None, options()), token)


def test_a_client_sends_no_name_with_a_nul() -> None:
    with pytest.raises(UsageError, match="NUL"):
        External(authzid="a\0b")


def test_a_layer_is_refused_before_anything_is_sent() -> None:
    for machine in (initiator(CLIENT, CERTIFICATE, options(SEAL)), acceptor(SERVER, None, options(SEAL))):
        with pytest.raises(QualityNotMet):
            stepped(machine)
