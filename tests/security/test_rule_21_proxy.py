"""SECURITY 21: a proxy that opens both TLS connections sees no credentials, whatever it reads, alters or cuts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from securestream.errors import (
    BadBindings,
    PeerGone,
    PeerRefused,
)
from securestream.machine import HandshakeMachine
from securestream.options import Role
from securestream.provider import (
    Handshake,
    SecurityContext,
)
from securestream.records.base import RecordConnection
from securestream_providers.credssp import credentials
from securestream_providers.schannel import Schannel
from tests.providers.credssp.clear import CLOSE_NOTIFY
from tests.providers.credssp.ends import (
    ALICE,
    CA,
    MECHANISMS,
    OTHER,
    TARGET,
    End,
    Ends,
    Meddle,
    options,
    tls_ends,
)
from tests.providers.credssp.looking import CANARIES, requests, require_silence, run, seen

CLIENT, ACCEPTOR = Role.INITIATOR, Role.ACCEPTOR
by_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS)


class TestDecryptingProxy:
    """Somebody has the keys of both TLS connections: the stand-in for TLS lets him read and write all."""

    @by_mechanism
    def test_reading_alone_shows_nothing(self, mechanism: str) -> None:
        ends = run(mechanism, lambda role, number, token: token).raise_any()
        assert ends.delegated == ALICE
        assert not CANARIES.found_in(seen(ends).decode("latin-1"))

    @by_mechanism
    def test_at_every_altered_octet(self, mechanism: str) -> None:
        """Whatever he alters: no end accepts, and authInfo leaves only where the client could not know of it."""
        plain = run(mechanism, lambda role, number, token: token).raise_any()
        last = len(plain.client.sent) - 1
        for role, number, at in _places(plain, mechanism):
            ends = run(mechanism, _altering(role, number, at))
            require_unaltered_or_refused(ends, plain, role, number, at)
            if ends.client.established is not None:
                continue  # what was altered is what no proof covers, or the credentials themselves
            assert (role, number) != (CLIENT, last)
            assert all(one.auth_info is None for one in requests(ends.client.sent)), (role, number, at)

    @by_mechanism
    def test_at_every_cut(self, mechanism: str) -> None:
        """Every message may be the last, and be cut anywhere: then no end has anything, and nothing was shown."""
        plain = run(mechanism, lambda role, number, token: token).raise_any()
        for role, number, at in _places(plain, mechanism):
            ends = run(mechanism, _cutting(role, number, at))
            require_silence(ends)
            if (role, number) != (CLIENT, len(plain.client.sent) - 1):
                assert all(one.auth_info is None for one in requests(ends.client.sent)), (role, number, at)

    @by_mechanism
    def test_messages_repeated_or_left_out(self, mechanism: str) -> None:
        plain = run(mechanism, lambda role, number, token: token).raise_any()
        tokens = {CLIENT: plain.client.sent, ACCEPTOR: plain.server.sent}
        for role, number in itertools.product(Role, range(1, 6)):
            for taken in range(1, len(tokens[role])):
                if number == taken or number >= len(tokens[role]):
                    continue
                ends = run(mechanism, _replacing(role, number, tokens[role][taken]))
                require_silence(ends)


def _places(plain: Ends, mechanism: str) -> Iterator[tuple[Role, int, int]]:
    """Every octet behind the TLS handshake; where NTLM is not bare, every octet of short messages and a share of long
    ones, whose tokens have tests of their own.
    """
    for end in (plain.client, plain.server):
        for number in range(1, len(end.sent)):
            size = len(end.sent[number])
            for at in range(0, size, 1 if mechanism == "NTLM" or size < 100 else 7):
                yield end.role, number, at


def _altering(who: Role, which: int, at: int) -> Meddle:
    def meddle(role: Role, number: int, token: bytes) -> bytes:
        if (role, number) != (who, which) or at >= len(token):
            return token
        return token[:at] + bytes((token[at] ^ 0x01,)) + token[at + 1 :]

    return meddle


def _cutting(who: Role, which: int, at: int) -> Meddle:
    def meddle(role: Role, number: int, token: bytes) -> bytes | None:
        if (role, number) != (who, which):
            return token
        return token[:at] + CLOSE_NOTIFY if at else None

    return meddle


def _replacing(who: Role, which: int, token: bytes) -> Meddle:
    return lambda role, number, sent: token if (role, number) == (who, which) else sent


def require_unaltered_or_refused(ends: Ends, plain: Ends, role: Role, number: int, at: int) -> None:
    """Nothing is shown. Both ends complete only where an octet of a token was altered for which its mechanism
    has no proof (a realm in clear): all that is CredSSP's own is covered.
    """
    assert not CANARIES.found_in(seen(ends).decode("latin-1")), (role, number, at)
    if ends.server.established is not None:
        assert ends.delegated == ALICE
        assert ends.client.established is not None
        altered = requests([(plain.client if role is CLIENT else plain.server).sent[number]])[0]
        assert altered.token is not None, (role, number, at)
        assert altered.pub_key_auth is altered.auth_info is None, (role, number, at)


@pytest.mark.parametrize("mechanism", ["NTLM", "Kerberos in SPNEGO"])
def test_a_man_in_the_middle_with_a_certificate_of_the_same_name_gets_nothing(mechanism: str) -> None:
    """Real TLS on both sides of him, his certificate is as good as the server's: the keys differ, and that is seen."""
    made = MECHANISMS[mechanism]
    victim, server = tls_ends(mechanism)
    asked = options()
    client = End(HandshakeMachine(victim.initiate(made.initiating(), TARGET, asked)), CLIENT)
    target = End(HandshakeMachine(server.accept(made.accepting(), asked)), ACCEPTOR)
    facing_client = _TlsEnd(Schannel().accept(OTHER.credential, asked))
    facing_server = _TlsEnd(Schannel(trust=CA.pem).initiate(None, TARGET, asked))
    shown = _relay(client, facing_client, facing_server, target)
    assert not CANARIES.found_in(shown.decode("latin-1"))
    assert credentials.encode(ALICE) not in shown
    assert isinstance(target.error, BadBindings)
    assert target.established is None
    assert client.established is None
    assert isinstance(client.error, PeerRefused | PeerGone)
    assert b"NTLMSSP" in shown or b"\x06\x06+\x06\x01\x05\x05\x02" in shown  # he did see the negotiation


class _TlsEnd:
    """One of the two TLS ends of the man in the middle: plaintext on one side, records on the other."""

    def __init__(self, handshake: Handshake) -> None:
        self.machine = HandshakeMachine(handshake)
        self.connection: RecordConnection | None = None
        self.waiting = b""
        self.first = self.machine.step().token

    def records(self, token: bytes) -> tuple[bytes, bytes]:
        """Take records; give records that are due, and plaintext."""
        out = b""
        if self.connection is None:
            step = self.machine.step(token)
            out = step.token or b""
            if step.established is None:
                return out, b""
            assert not isinstance(step.established.result, SecurityContext)
            self.connection = step.established.result
            out += self.sealed(self.waiting)
        else:
            self.connection.receive_data(token)
        plain = bytearray(65536)
        count = self.connection.read_into(plain)
        return out + self.connection.data_to_send(), bytes(plain[:count])

    def sealed(self, plain: bytes) -> bytes:
        if self.connection is None:
            self.waiting += plain
            return b""
        self.connection.send(plain)
        return self.connection.data_to_send()


def _relay(client: End, facing_client: _TlsEnd, facing_server: _TlsEnd, server: End) -> bytes:
    """Pass plaintext between two TLS connections; give all of it."""
    shown = bytearray()
    to_client: list[bytes] = []
    to_server = [facing_server.first or b""]
    from_client = [client.step() or b""]
    from_server: list[bytes] = []
    for _ in range(40):
        _pump(from_client, facing_client, to_client, lambda plain: to_server.append(facing_server.sealed(plain)), shown)
        _pump(from_server, facing_server, to_server, lambda plain: to_client.append(facing_client.sealed(plain)), shown)
        _step(client, to_client, from_client)
        _step(server, to_server, from_server)
    return bytes(shown)


def _pump(
    arrived: list[bytes], end: _TlsEnd, back: list[bytes], onwards: Callable[[bytes], None], shown: bytearray
) -> None:
    while arrived:
        answer, plain = end.records(arrived.pop(0))
        if answer:
            back.append(answer)
        if plain:
            shown += plain
            onwards(plain)


def _step(end: End, arrived: list[bytes], sent: list[bytes]) -> None:
    while arrived and not end.over:
        token = arrived.pop(0)
        out = end.step(token) if token else None
        if out:
            sent.append(out)
