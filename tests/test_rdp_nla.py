"""The X.224 part of examples/rdp_nla.py ([MS-RDPBCGR] 2.2.1.1, 2.2.1.2): its octets, and whom it refuses."""

from __future__ import annotations

import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

import securestream as ss
from examples.rdp_nla import (
    CONNECTION_CONFIRM,
    FAILURE,
    RESPONSE,
    NegotiationError,
    Protocols,
    Refusal,
    Request,
    acceptors,
    choose,
    chosen,
    initiators,
    log_on,
    negotiation,
    packet,
    receive_packet,
    take_logon,
)
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.cli.pairs import MemoryStream
from tests.streams.pairs import both, tcp_pair

BOTH = Protocols.HYBRID | Protocols.HYBRID_EX
TARGET = "TERMSRV/files.example"

XFREERDP = bytes.fromhex(
    "0300 002b 26e0 0000 0000 00 436f6f6b69653a206d737473686173683d616c6963650d0a 0100 0800 03000000"
)
"""What a client of the name alice sends: X.224's fixed part, the cookie, the offer of TLS and CredSSP."""
CORRELATED = bytes.fromhex("0300 0037 32e0 0000 0000 00 0108 0800 0b000000 0600 2400") + bytes(32)


def answered(flags: int, protocol: int, kind: int = RESPONSE) -> bytes:
    """The TPDU of a server's answer."""
    return packet(CONNECTION_CONFIRM, negotiation(kind, flags, protocol))[4:]


def test_a_request_is_these_octets() -> None:
    request = Request(Protocols.TLS | Protocols.HYBRID, cookie="mstshash=alice")
    assert request.encode() == XFREERDP
    assert Request.decode(XFREERDP[4:]) == request


def test_a_correlation_identifier_behind_the_offer_is_passed_over() -> None:
    assert Request.decode(CORRELATED[4:]) == Request(Protocols.TLS | BOTH)


@pytest.mark.parametrize("protocols", [None, Protocols.TLS, BOTH])
@pytest.mark.parametrize("cookie", ["", "mstshash=alice", "msts=3640205228.15629.0000"])
@pytest.mark.parametrize("restricted_admin", [False, True])
def test_requests_come_back_as_they_were(protocols: Protocols | None, cookie: str, restricted_admin: bool) -> None:
    request = Request(protocols, restricted_admin and protocols is not None, cookie)
    assert Request.decode(request.encode()[4:]) == request


@pytest.mark.parametrize(
    ("offered", "expected"),
    [(Protocols.TLS | BOTH, Protocols.HYBRID_EX), (Protocols.TLS | Protocols.HYBRID, Protocols.HYBRID)],
)
def test_the_server_chooses_the_most_that_is_offered(offered: Protocols, expected: Protocols) -> None:
    answer, protocol = choose(Request(offered), BOTH)
    assert protocol is expected
    assert chosen(answer[4:], BOTH) is expected


def test_a_client_without_credssp_is_told_so() -> None:
    with pytest.raises(NegotiationError) as refused:
        choose(Request(Protocols.TLS), BOTH)
    with pytest.raises(NegotiationError, match="HYBRID_REQUIRED_BY_SERVER"):
        chosen(refused.value.answer[4:], BOTH)


def test_a_client_that_offers_nothing_gets_no_answer_that_it_would_not_understand() -> None:
    with pytest.raises(NegotiationError) as refused:
        choose(Request(None), BOTH)
    assert refused.value.answer == b""


@pytest.mark.parametrize(
    "answer",
    [
        answered(0, Protocols.TLS),
        answered(0, 0),
        packet(CONNECTION_CONFIRM, b"")[4:],
        answered(0, Protocols.HYBRID_EX),
        answered(0, 4),
        answered(0, Protocols.HYBRID, kind=7),
        answered(0, Protocols.HYBRID)[:-1],
        b"",
        *(answered(0, code, kind=FAILURE) for code in (*Refusal, 77)),
    ],
)
def test_a_client_takes_nothing_less_than_it_offered(answer: bytes) -> None:
    with pytest.raises(NegotiationError):
        chosen(answer, Protocols.HYBRID)


@pytest.mark.parametrize("at", range(len(XFREERDP)))
def test_cut_requests_are_refused(at: int) -> None:
    tpdu = XFREERDP[4:at]
    with pytest.raises(NegotiationError):
        Request.decode(tpdu)


async def read_packet(*pieces: bytes) -> bytes:
    """What `receive_packet` makes of octets that come in pieces."""
    ours, theirs = MemoryStream.pair()
    for piece in pieces:
        await theirs.send(piece)
    try:
        return await receive_packet(BufferedByteReceiveStream(ours))
    finally:
        ours.close_everything()


@pytest.mark.anyio
async def test_a_packet_may_come_octet_by_octet() -> None:
    assert await read_packet(*(bytes((octet,)) for octet in XFREERDP)) == XFREERDP[4:]


@pytest.mark.anyio
@pytest.mark.parametrize("head", [b"\x16\x03\x01\x02", b"\x03\x00\x00\x04", b"\x03\x00\x02\x01"])
async def test_what_is_no_packet_is_refused_by_its_head(head: bytes) -> None:
    with pytest.raises(NegotiationError):
        await read_packet(head)


CA = authority("example authority")
ALICE = ss.Password(r"CORP\alice", "correct horse")


def server() -> ss.Credentials:
    """What the server has."""
    accounts = ss.Accounts.memory(**{r"CORP\alice": "correct horse"})
    return ss.Credentials(CA.leaf(["files.example"]).credential, accounts)


@pytest.mark.anyio
async def test_both_ends_log_on() -> None:
    ours, theirs = await tcp_pair()
    (client, chosen_by_client), (taken, chosen_by_server) = await both(
        lambda: log_on(ours, TARGET, ALICE, initiators(TARGET, Schannel(trust=CA.pem))),
        lambda: take_logon(theirs, server(), acceptors()),
    )
    async with client, taken:
        assert chosen_by_client is chosen_by_server is Protocols.HYBRID_EX
        assert taken.delegated == ALICE
        await taken.send(b"a desktop")
        assert await client.receive() == b"a desktop"


@pytest.mark.anyio
async def test_octets_slipped_in_before_tls_are_not_passed_over() -> None:
    ours, theirs = await tcp_pair()
    async with ours, theirs:
        await ours.send(XFREERDP + b"slipped in, in clear")
        with pytest.raises(ss.HandshakeError, match="TLS"):
            await take_logon(theirs, server(), acceptors())


@pytest.mark.anyio
async def test_a_server_without_credssp_gets_no_octet_of_a_logon() -> None:
    ours, theirs = await tcp_pair()
    async with ours, theirs:
        await theirs.send(packet(CONNECTION_CONFIRM, negotiation(RESPONSE, 0, Protocols.TLS)))
        with pytest.raises(NegotiationError):
            await log_on(ours, TARGET, ALICE, initiators(TARGET, Schannel(trust=CA.pem)))
        assert [part async for part in theirs] == [Request(Protocols.TLS | BOTH).encode()]
