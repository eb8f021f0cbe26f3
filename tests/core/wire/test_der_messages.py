"""Declared messages against RFC 4120, RFC 4178 and [MS-CSSP] encodings, pyasn1, and every cut or altered octet."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.wire import der
from tests.core.wire import oracle, schemas
from tests.core.wire.samples import AP_REQ, KRB5, MESSAGES, NEG_INIT, NEG_RESP, NOW, NTLM, TICKET

SAMPLES = [pytest.param(message, id=name) for name, message in MESSAGES.items()]
WITH_ORACLE = [
    pytest.param(message, id=name) for name, message in MESSAGES.items() if type(message).__name__ in oracle.SPECS
]

MIT_TYPES: dict[str, type[der.Message]] = {
    "authenticator": schemas.Authenticator,
    "authenticator(optionals NULL)": schemas.Authenticator,
    "keyblock": schemas.EncryptionKey,
    "enc_tkt_part": schemas.EncTicketPart,
    "enc_tkt_part(optionals NULL)": schemas.EncTicketPart,
    "enc_kdc_rep_part(optionals NULL)": schemas.EncAsRepPart,
    "as_rep": schemas.AsRep,
    "as_rep(optionals NULL)": schemas.AsRep,
    "ap_req": schemas.ApReq,
    "ap_rep": schemas.ApRep,
    "ap_rep_enc_part(optionals NULL)": schemas.EncApRepPart,
    "as_req": schemas.AsReq,
    "as_req(optionals NULL except second_ticket)": schemas.AsReq,
    "tgs_req": schemas.TgsReq,
    "tgs_req(optionals NULL except server)": schemas.TgsReq,
    "kdc_req_body(optionals NULL except server)": schemas.KdcReqBody,
    "error": schemas.KrbError,
    "authorization_data": schemas.AuthorizationData,
}
NOT_SENT_AGAIN = {"enc_kdc_rep_part(optionals NULL)"}
"""Sent with tag 26, which is read where 25 is due and never sent."""


def hexed(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


def _content(message: der.Message) -> bytes:
    """What stands inside the outermost tag."""
    return der.split_element(message.encode())[1]


# Encodings


@pytest.mark.parametrize("message", SAMPLES)
def test_what_is_encoded_is_decoded_again(message: der.Message) -> None:
    octets = message.encode()
    assert type(message).decode(octets) == message
    assert type(message).decode(octets).encode() == octets


@pytest.mark.parametrize("message", WITH_ORACLE)
def test_pyasn1_has_the_same_opinion(message: der.Message) -> None:
    spec = oracle.SPECS[type(message).__name__]
    octets = message.encode()
    assert oracle.encode(message, spec) == octets
    assert oracle.recode(octets, spec) == octets


def test_mit_reference_encodings(shared: Path) -> None:
    vectors = json.loads((shared / "vectors" / "krb5_asn1_reference.json").read_text())["vectors"]
    seen: set[str] = set()
    for vector in vectors:
        cls = MIT_TYPES.get(vector["type"])
        if cls is None:
            continue
        octets = bytes.fromhex(vector["der"])
        message = cls.decode(octets)
        if vector["type"] not in NOT_SENT_AGAIN:
            assert message.encode() == octets, vector["id"]
        seen.add(vector["type"])
        for damaged in (octets[:-1], octets + b"\0", bytes((octets[0] ^ 1,)) + octets[1:]):
            with pytest.raises(MalformedMessage):
                cls.decode(damaged)
    assert seen == set(MIT_TYPES)


def test_credssp_captures_decode_and_encode(shared: Path) -> None:
    vectors = json.loads((shared / "vectors" / "credssp.json").read_text())["vectors"]
    requests = [bytes.fromhex(v["der"]) for v in vectors if v["id"].endswith(("_TS_REQUEST", "_CLIENT_NONCE"))]
    assert len(requests) == 6
    for octets in requests:
        assert schemas.TsRequest.decode(octets).encode() == octets


def test_credssp_error_code_is_a_signed_number_on_the_wire() -> None:
    octets = hexed("300d a003 020106 a406 0204 c000006d")
    request = schemas.TsRequest.decode(octets)
    assert request.error_code == 0xC000006D
    assert request.encode() == octets
    # a peer that sends it as a positive number is understood too
    assert schemas.TsRequest.decode(hexed("300e a003 020106 a407 0205 00c000006d")) == request


def test_mechanism_list_is_kept_as_received() -> None:
    # RFC 4178 5: mechListMIC covers the MechTypeList, without the [0] around it
    mechs = hexed("30 0b 06 09 2a864886f712010202")
    octets = der.element(0xA0, der.element(0x30, der.element(0xA0, mechs)))
    init = schemas.NegTokenInit.decode(octets)
    assert init.mech_types_octets == mechs
    assert init == schemas.NegTokenInit((KRB5,))
    assert schemas.NegTokenInit((KRB5,)).mech_types_octets == b""


def test_octets_of_a_message_and_of_a_field_are_kept() -> None:
    request = schemas.AsReq.decode(MESSAGES["as-req"].encode())
    assert request.body_octets == request.req_body.encode()
    octets = MESSAGES["everything"].encode()
    assert schemas.Everything.decode(octets).whole == octets


def test_fields_of_an_element_can_be_forwarded_raw() -> None:
    everything = schemas.Everything.decode(MESSAGES["everything"].encode())
    assert everything.ticket == TICKET.encode()
    octets = dataclasses.replace(everything, ticket=None).encode()
    at = octets.index(b"\xa9")
    other = der.element(0x30, octets[4:at] + hexed("a8 02 30 00") + octets[at:])
    with pytest.raises(MalformedMessage, match="the tag 61 is due"):
        schemas.Everything.decode(other)


def test_the_fourth_field_tells_hints_from_a_mic() -> None:
    # [MS-SPNG] 2.2.1: tag 3 is negHints (30) from a server, mechListMIC (04) from a client
    mechs = "a0 0d 30 0b 06 09 2a864886f712010202"
    hints = schemas.NegTokenInit.decode(hexed(f"a0 17 30 15 {mechs} a3 04 30 02 a000"))
    assert hints.hints_or_mic == hexed("30 02 a0 00")
    assert schemas.NegTokenInit.decode(hexed(f"a0 17 30 15 {mechs} a3 04 04 02 6d6d")).hints_or_mic == hexed("04026d6d")


# Values


def test_integers_are_minimal_and_signed() -> None:
    # RFC 4120 5.2.4 Int32; X.690 8.3
    for number, content in ((0, "00"), (127, "7f"), (128, "0080"), (-1, "ff"), (-128, "80"), (-129, "ff7f")):
        octets = hexed(f"a0 {len(hexed(content)) + 2:02x} 02 {len(hexed(content)):02x} {content}")
        body = octets + hexed("a1 02 30 00")
        name = schemas.PrincipalName(number, ())
        assert name.encode() == der.element(0x30, body)
        assert schemas.PrincipalName.decode(name.encode()) == name


@pytest.mark.parametrize("content", ["0000", "007f", "ffff", "ff80", "", "0080000000", "ff7fffffff"])
def test_integers_of_other_forms_or_ranges_are_refused(content: str) -> None:
    integer = der.element(0xA0, der.element(0x02, hexed(content)))
    with pytest.raises(MalformedMessage):
        schemas.PrincipalName.decode(der.element(0x30, integer + hexed("a1 02 30 00")))


@pytest.mark.parametrize(
    ("content", "number"), [("ff000000", 0xFF000000), ("ff", 0xFFFFFFFF), ("00ff000000", 0xFF000000)]
)
def test_unsigned_numbers_sent_as_negative_are_understood(content: str, number: int) -> None:
    # MIT krb5 encodes a kvno with its highest bit set as a negative number
    kvno = der.element(0xA1, der.element(0x02, hexed(content)))
    octets = der.element(0x30, hexed("a003020112") + kvno + hexed("a203040100"))
    assert schemas.EncryptedData.decode(octets).kvno == number


@pytest.mark.parametrize("content", ["ff00000000", "ff7fffffff", "0100000000", "ff7f00000000"])
def test_numbers_of_more_than_32_bits_are_refused(content: str) -> None:
    kvno = der.element(0xA1, der.element(0x02, hexed(content)))
    with pytest.raises(MalformedMessage):
        schemas.EncryptedData.decode(der.element(0x30, hexed("a003020112") + kvno + hexed("a203040100")))


@pytest.mark.parametrize("size", [*range(120, 136), *range(248, 264), 65_530, 65_536, 70_000])
def test_lengths_around_each_change_of_form(size: int) -> None:
    # X.690 10.1: an element and the tag around it may need lengths of different forms
    message = schemas.EncryptedData(18, None, bytes(size))
    octets = message.encode()
    assert octets == oracle.encode(message, oracle.ENCRYPTED)
    assert schemas.EncryptedData.decode(octets) == message
    at = octets.index(b"\xa2")
    for position in range(at, len(octets) - size):
        for other in {octets[position] ^ 1, octets[position] + 1 & 0xFF, 0x80, 0x81, 0x82, 0x83} - {octets[position]}:
            with pytest.raises(MalformedMessage):
                schemas.EncryptedData.decode(octets[:position] + bytes((other,)) + octets[position + 1 :])


@pytest.mark.parametrize("outer", ["8105", "820005", "83000005"])
def test_explicit_tags_of_longer_lengths_than_needed_are_refused(outer: str) -> None:
    content = hexed("a003020112") + b"\xa2" + hexed(outer) + hexed("0403010203")
    with pytest.raises(MalformedMessage):
        schemas.EncryptedData.decode(der.element(0x30, content))


def test_flags_are_32_bits_and_are_not_trimmed() -> None:
    octets = schemas.ApReq(5, 14, 0, TICKET, AP_REQ.authenticator).encode()
    assert hexed("a2 07 03 05 00 00000000") in octets


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("00 20000000", 0x20000000),
        ("05 20", 0x20000000),
        ("00", 0),
        ("00 2000000001", 0x20000000),
        ("00 8001", 0x80010000),
    ],
)
def test_flags_of_other_lengths_are_understood(content: str, value: int) -> None:
    before, after = der.split_element(_content(AP_REQ))[1].split(hexed("a2 07 03 05 00 20000000"))
    bits = der.element(0xA2, der.element(0x03, hexed(content)))
    changed = der.element(0x6E, der.element(0x30, before + bits + after))
    assert schemas.ApReq.decode(changed).ap_options == value


@pytest.mark.parametrize("content", ["", "01", "08 00", "01 01", "00" + "00" * 65])
def test_bit_strings_of_no_sense_are_refused(content: str) -> None:
    inner = der.split_element(_content(AP_REQ))[1]
    before, after = inner.split(hexed("a2 07 03 05 00 20000000"))
    bits = der.element(0xA2, der.element(0x03, hexed(content)))
    with pytest.raises(MalformedMessage):
        schemas.ApReq.decode(der.element(0x6E, der.element(0x30, before + bits + after)))


@pytest.mark.parametrize(
    "text",
    [
        "20260301123456",
        "20260301123456.5Z",
        "20260301123456+0000",
        "20261301123456Z",
        "20260301123460Z",
        "2026030112345 Z",
    ],
)
def test_times_of_other_forms_are_refused(text: str) -> None:
    time = der.element(0xA0, der.element(0x18, text.encode()))
    with pytest.raises(MalformedMessage):
        schemas.EncApRepPart.decode(der.element(0x7B, der.element(0x30, time + hexed("a103020100"))))


def test_times_are_utc_and_whole_seconds() -> None:
    part = schemas.EncApRepPart(datetime(2026, 3, 1, 14, 34, 56, tzinfo=timezone(timedelta(hours=2))), 0)
    assert schemas.EncApRepPart.decode(part.encode()).ctime == NOW
    for wrong in (datetime(2026, 3, 1), datetime(2026, 3, 1, microsecond=1, tzinfo=UTC)):  # noqa: DTZ001  the case
        with pytest.raises(UsageError):
            schemas.EncApRepPart(wrong, 0).encode()


def test_unknown_values_of_an_open_enumeration_stay_integers() -> None:
    response = schemas.NegTokenResp.decode(schemas.NegTokenResp(77).encode())
    assert response.neg_state == 77
    known = schemas.NegTokenResp.decode(schemas.NegTokenResp(1).encode()).neg_state
    assert known is schemas.NegState.ACCEPT_INCOMPLETE


def test_unknown_values_of_a_closed_enumeration_are_refused() -> None:
    octets = MESSAGES["everything-least"].encode()
    assert octets == hexed("30 03 02 01 01")
    with pytest.raises(MalformedMessage, match="colour"):
        schemas.Everything.decode(hexed("30 03 02 01 02"))


def test_either_tag_of_the_encrypted_part_is_understood() -> None:
    # RFC 4120 5.4.2
    octets = MESSAGES["enc-kdc-rep"].encode()
    assert octets[0] == 0x79
    assert schemas.EncAsRepPart.decode(b"\x7a" + octets[1:]) == MESSAGES["enc-kdc-rep"]
    with pytest.raises(MalformedMessage):
        schemas.EncAsRepPart.decode(b"\x7b" + octets[1:])


def test_text_is_utf8_and_nothing_else() -> None:
    octets = schemas.PrincipalName(1, ("é",)).encode()
    assert schemas.PrincipalName.decode(octets).name_string == ("é",)
    with pytest.raises(MalformedMessage):
        schemas.PrincipalName.decode(octets.replace("é".encode(), b"\xc3\x28"))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (KRB5, "2a864886f712010202"),
        (NTLM, "2b06010401823702020a"),
        ("2.999.3", "883703"),
        ("0.39", "27"),
        ("1.0", "28"),
    ],
)
def test_object_identifiers(text: str, content: str) -> None:
    # X.690 8.19
    assert der.oid_octets(text) == der.element(0x06, hexed(content))
    assert der.oid_text(der.oid_octets(text)) == text


@pytest.mark.parametrize("content", ["", "80", "2a80", "2a8001", "2a" + "01" * 64])
def test_object_identifiers_of_other_forms_are_refused(content: str) -> None:
    with pytest.raises(MalformedMessage):
        der.oid_text(der.element(0x06, hexed(content)))


@pytest.mark.parametrize("text", ["", "1", "3.1", "1.40", "1.2.x", "1..2", "1.2.-3", "1.²"])
def test_what_is_no_object_identifier_is_not_sent(text: str) -> None:
    with pytest.raises(UsageError):
        der.oid_octets(text)


def test_choices_are_told_by_tag_and_by_type() -> None:
    for message in (NEG_INIT, NEG_RESP):
        token = schemas.NegotiationToken(message)
        assert token.encode() == message.encode()
        assert schemas.NegotiationToken.decode(message.encode()).token == message
    with pytest.raises(MalformedMessage, match="none of the alternatives"):
        schemas.NegotiationToken.decode(hexed("a2023000"))


def test_defaults_are_not_sent_and_put_in() -> None:
    least = schemas.Everything.decode(hexed("30 03 02 01 01"))
    assert (least.truth, least.number) == (False, 7)
    with pytest.raises(MalformedMessage, match="DEFAULT"):
        schemas.Everything.decode(hexed("30 08 02 01 01 a0 03 01 01 00"))
    assert schemas.Everything.decode(hexed("30 08 02 01 01 a1 03 02 01 07")) == least


def test_unknown_elements_at_the_end_are_kept_passed_over_or_refused() -> None:
    kept = schemas.Everything.decode(hexed("30 08 02 01 01 ab 03 020105"))
    assert kept.extensions == (hexed("ab 03 020105"),)
    assert kept.encode() == hexed("30 08 02 01 01 ab 03 020105")
    content = der.split_element(_content(TICKET))[1]
    extended = der.element(0x61, der.element(0x30, content + hexed("a4 02 0500")))
    assert schemas.Ticket.decode(extended) == TICKET
    checksum = schemas.Checksum(1, b"x").encode()
    with pytest.raises(MalformedMessage):
        schemas.Checksum.decode(der.element(0x30, checksum[2:] + hexed("a2 02 0500")))


def test_known_fields_out_of_order_are_no_extension() -> None:
    with pytest.raises(MalformedMessage, match="out of its order"):
        schemas.Everything.decode(hexed("30 0d 02 01 01 a1 03 020108 a0 03 0101ff"))


# Damage


@pytest.mark.parametrize("message", SAMPLES)
def test_every_cut_is_refused(message: der.Message) -> None:
    octets = message.encode()
    for end in range(len(octets)):
        with pytest.raises(MalformedMessage):
            type(message).decode(octets[:end])


@pytest.mark.parametrize("message", SAMPLES)
def test_octets_that_follow_are_refused(message: der.Message) -> None:
    octets = message.encode()
    for more in (b"\0", b"\0\0", octets):
        with pytest.raises(MalformedMessage):
            type(message).decode(octets + more)


@pytest.mark.parametrize("message", SAMPLES)
def test_every_altered_octet_is_refused_or_means_something(message: der.Message) -> None:
    octets = message.encode()
    cls = type(message)
    refused = 0
    for position, octet in enumerate(octets):
        for other in {0x00, 0x01, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFF, octet ^ 1, octet ^ 0x20, octet + 1 & 0xFF} - {
            octet
        }:
            damaged = octets[:position] + bytes((other,)) + octets[position + 1 :]
            try:
                found = cls.decode(damaged)
            except MalformedMessage:
                refused += 1
            else:
                assert cls.decode(found.encode()) == found
    assert refused


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_buffer_is_decoded_and_copied(kind: type[bytes | bytearray | memoryview]) -> None:
    buffer = bytearray(AP_REQ.encode())
    message = schemas.ApReq.decode(kind(buffer))
    buffer[:] = bytes(len(buffer))
    assert message == AP_REQ
    assert type(message.authenticator.cipher) is bytes


def test_errors_show_no_octets() -> None:
    octets = schemas.EncryptionKey(18, b"secret secret").encode()
    for damaged in (octets[:-1], octets + b"\0", octets.replace(b"\xa1", b"\xa2")):
        with pytest.raises(MalformedMessage) as caught:
            schemas.EncryptionKey.decode(damaged)
        assert b"secret".hex() not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
