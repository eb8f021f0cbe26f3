"""SPNEGO's messages: RFC 4178 4.2 and [MS-SPNG] 2.2, octet by octet."""

from __future__ import annotations

import pytest

from securestream.errors import InvalidToken, MalformedMessage
from securestream.wire import der
from securestream_providers.negotiate.messages import (
    HINTS,
    KERBEROS,
    MAXIMUM_MECHANISMS,
    MS_KERBEROS,
    NTLM,
    OLD_KERBEROS,
    MechTypeList,
    NegState,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    bare_mechanism,
    canonical,
    frame,
    read_response,
    unframe,
)
from tests.providers.negotiate.ends import offer, resp, types
from tests.providers.negotiate.toy import FIRST, SECOND

SPNEGO_OID = bytes.fromhex("06062b0601050502")
NTLM_OID = bytes.fromhex("060a2b06010401823702020a")


def framed(sequence: bytes) -> bytes:
    """A first token around the members of a NegTokenInit."""
    return der.element(0x60, SPNEGO_OID + der.element(0xA0, der.element(0x30, sequence)))


LIST = der.element(0xA0, der.element(0x30, NTLM_OID))


def test_an_offer_is_framed_with_the_mechanism() -> None:
    assert offer(NTLM, token=b"NTLMSSP") == framed(LIST + bytes.fromhex("a2090407") + b"NTLMSSP")


def test_later_messages_have_no_frame() -> None:
    assert resp(NegState.ACCEPT_INCOMPLETE, NTLM) == bytes.fromhex("a1153013a0030a0101a10c") + NTLM_OID
    assert NegTokenResp.decode(resp()) == NegTokenResp()


def test_the_list_is_kept_as_it_was_received() -> None:
    """The MIC covers the SEQUENCE OF, without the context tag around it (RFC 4178 5 a)."""
    message = unframe(offer(FIRST, SECOND, token=b"x"))
    assert isinstance(message, NegTokenInit)
    assert message.mech_types_octets == types(FIRST, SECOND) == MechTypeList((FIRST, SECOND)).encode()
    assert message.mech_types_octets[:1] == b"\x30"


def test_tag_3_holds_hints_of_a_server_or_a_mic_of_a_client() -> None:
    hints = unframe(frame(NegTokenInit2(MechTypeList((NTLM,)), neg_hints=HINTS)))
    assert isinstance(hints, NegTokenInit2)
    assert hints.neg_hints == HINTS
    mic = unframe(offer(NTLM, mic=b"\x30\x00"))
    assert isinstance(mic, NegTokenInit)
    assert mic.mech_list_mic == b"\x30\x00"
    fourth = unframe(framed(LIST + der.element(0xA4, der.element(4, b"mic"))))
    assert isinstance(fourth, NegTokenInit2)
    assert fourth.mech_list_mic == b"mic"
    assert isinstance(unframe(framed(b"")), NegTokenInit2)


def test_what_windows_says_first_is_said_so() -> None:
    octets = frame(NegTokenInit2(MechTypeList((NTLM,)), neg_hints=HINTS))
    assert octets.endswith(b"\xa3\x2a\x30\x28\xa0\x26\x1b\x24not_defined_in_RFC4178@please_ignore")


def test_flags_are_taken_and_extensions_passed_over() -> None:
    """Both messages end in ``...`` (RFC 4178 4.2)."""
    flags = der.element(0xA1, b"\x03\x02\x01\x36")
    message = unframe(framed(LIST + flags + der.element(0xA7, b"\x04\x01x")))
    assert isinstance(message, NegTokenInit)
    assert message.req_flags is not None
    extended = der.element(0xA1, der.element(0x30, b"\xa0\x03\x0a\x01\x00" + der.element(0xA9, b"\x05\x00")))
    assert NegTokenResp.decode(extended).neg_state is NegState.ACCEPT_COMPLETED


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x60",
        framed(LIST)[:-1],
        framed(LIST) + b"\0",
        framed(der.element(0xA0, b"\x30\x00")),
        framed(der.element(0xA0, der.element(0x30, NTLM_OID * (MAXIMUM_MECHANISMS + 1)))),
        framed(LIST + LIST),
        framed(LIST + LIST + der.element(0xA3, b"\x30\x00")),
        framed(der.element(0xA2, b"\x04\x00") + LIST),
        der.element(0x60, der.oid_octets(KERBEROS) + der.element(0xA0, der.element(0x30, LIST))),
        der.element(0x60, SPNEGO_OID),
        der.element(0x60, SPNEGO_OID + resp()),
        b"\x60\x81\x0a" + framed(LIST)[2:],
    ],
)
def test_malformed_first_messages_are_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        unframe(octets)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xa1",
        resp(NegState.REJECT) + b"\0",
        bytes.fromhex("a1073005a0030a0104"),
        bytes.fromhex("a1073005a003020100"),
        bytes.fromhex("a1023080"),
        offer(NTLM),
    ],
)
def test_malformed_later_messages_are_refused_with_who_sent_them(octets: bytes) -> None:
    with pytest.raises(InvalidToken, match="the initiator's"):
        read_response(octets, "initiator")


def test_a_flood_of_members_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which form a message has is told by its first few members: each that is cut off copies what follows it."""
    cut = 0
    original = der.split_element

    def counted(octets: bytes) -> tuple[int, bytes, bytes]:
        nonlocal cut
        cut += 1
        return original(octets)

    monkeypatch.setattr(der, "split_element", counted)
    for flood in (b"\xa5\x00" * 10_000, b"".join(der.element(0xA5 + n, b"") for n in range(20))):
        cut = 0
        unframe(framed(LIST + flood))
        assert cut <= 8


def test_many_names_of_one_mechanism() -> None:
    assert {canonical(oid) for oid in (KERBEROS, MS_KERBEROS, OLD_KERBEROS)} == {KERBEROS}
    assert canonical(NTLM) == NTLM


@pytest.mark.parametrize(
    ("token", "bare"),
    [
        (b"NTLMSSP\0\x01", NTLM),
        (b"\x6e\x82\x01\x00", KERBEROS),
        (der.element(0x60, der.oid_octets(KERBEROS) + b"\x01\x00"), KERBEROS),
        (offer(NTLM), None),
        (b"", ""),
        (b"NTLMSSP", ""),
        (resp(), ""),
    ],
)
def test_what_a_first_token_is(token: bytes, bare: str | None) -> None:
    assert bare_mechanism(token) == bare


@pytest.mark.parametrize("token", [b"\x60\x00", b"\x60\x02\x06\x05", b"\x60\x05\x06", b"\x60\x80"])
def test_a_frame_around_nothing_is_refused(token: bytes) -> None:
    with pytest.raises(MalformedMessage):
        bare_mechanism(token)
