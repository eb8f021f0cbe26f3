"""Kerberos messages of MIT, Windows, .NET and others: each is decoded, and encoded again octet for octet."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import BadSignature, MalformedMessage
from securestream.wire import der
from securestream_providers.krb5 import gss_token, kkdcp, kpasswd, s4u
from securestream_providers.krb5 import messages as m
from securestream_providers.krb5 import messages_fast as fast
from securestream_providers.krb5.gss_checksum import GssChecksum
from securestream_providers.krb5.keys import make_key
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KeyUsage, PaType
from securestream_providers.krb5.pac import PacRefused, PacType
from securestream_providers.krb5.pac_principal import principal_of
from securestream_providers.krb5.pac_signing import verify_ticket

KINDS: dict[str, type[der.Message]] = {
    "authenticator": m.Authenticator,
    "keyblock": m.EncryptionKey,
    "enc_tkt_part": m.EncTicketPart,
    "enc_kdc_rep_part": m.EncTgsRepPart,
    "as_rep": m.AsRep,
    "tgs_rep": m.TgsRep,
    "ap_req": m.ApReq,
    "ap_rep": m.ApRep,
    "ap_rep_enc_part": m.EncApRepPart,
    "as_req": m.AsReq,
    "tgs_req": m.TgsReq,
    "kdc_req_body": m.KdcReqBody,
    "priv": m.KrbPriv,
    "enc_priv_part": m.EncKrbPrivPart,
    "enc_cred_part": m.EncKrbCredPart,
    "error": m.KrbError,
    "authorization_data": m.AuthorizationData,
    "padata_sequence": m.MethodData,
    "typed_data": m.TypedData,
    "etype_info": m.EtypeInfo,
    "etype_info2": m.EtypeInfo2,
    "pa_enc_ts": m.PaEncTsEnc,
    "enc_data": m.EncryptedData,
    "pa_for_user": s4u.PaForUser,
    "pa_fx_fast_reply": fast.PaFxFastReply,
    "kkdcp_message": kkdcp.KdcProxyMessage,
}
NOT_OURS = {
    *("safe", "sam_challenge_2", "sam_response_2", "enc_sam_response_enc_2", "ad_kdcissued", "iakerb_header"),
    *("iakerb_finished", "otp_tokeninfo", "pa_otp_challenge", "pa_otp_req", "cammac", "spake_factor", "pa_spake"),
}
"""Types that no part of this project sends or reads."""

WRITTEN_OTHERWISE = {"enc_data(kvno=-1)", "enc_data(MSB-set kvno)"}
"""Key versions from 2^31 on: negative numbers there, and UInt32 as RFC 4120 5.2.9 has it when we write them."""


@pytest.fixture(scope="module")
def vectors(shared: Path) -> Callable[[str], list[Any]]:
    def read(name: str) -> list[Any]:
        found: list[Any] = json.loads((shared / "vectors" / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
        return found

    return read


def kind_of(name: str) -> str:
    return name.partition("(")[0].strip()


def test_mit_reference_encodings(vectors: Callable[[str], list[Any]]) -> None:
    seen: set[str] = set()
    for vector in vectors("krb5_asn1_reference"):
        kind = kind_of(vector["type"])
        seen.add(kind)
        if kind in NOT_OURS:
            continue
        octets = bytes.fromhex(vector["der"])
        message = KINDS[kind].decode(octets)
        if vector["type"] not in WRITTEN_OTHERWISE:
            assert message.encode() == octets, vector["id"]
        assert KINDS[kind].decode(message.encode()) == message
        for damaged in (octets[:-1], octets + b"\0", bytes((octets[0] ^ 1,)) + octets[1:]):
            with pytest.raises(MalformedMessage):
                KINDS[kind].decode(damaged)
    assert seen == {*KINDS, *NOT_OURS}


def test_values_of_mits_reference(vectors: Callable[[str], list[Any]]) -> None:
    """What MIT's file says of all of its messages: names, times and numbers."""
    by_type = {vector["type"]: bytes.fromhex(vector["der"]) for vector in vectors("krb5_asn1_reference")}
    moment = datetime(1994, 6, 10, 6, 3, 17, tzinfo=UTC)
    authenticator = m.Authenticator.decode(by_type["authenticator"])
    assert (authenticator.crealm, authenticator.cname.name_string) == ("ATHENA.MIT.EDU", ("hftsai", "extra"))
    assert (authenticator.ctime, authenticator.cusec, authenticator.seq_number) == (moment, 123456, 17)
    assert authenticator.subkey == m.EncryptionKey(1, b"12345678")
    ticket = m.EncTicketPart.decode(by_type["enc_tkt_part"])
    assert (ticket.authtime, ticket.endtime, ticket.key.keyvalue) == (moment, moment, b"12345678")
    assert ticket.caddr == (m.HostAddress(2, bytes.fromhex("12d00023")),) * 2
    assert m.TgsReq.decode(by_type["tgs_req"]).req_body.nonce == 42
    assert m.EncryptedData.decode(by_type["enc_data(kvno=-1)"]).kvno == 0xFFFFFFFF
    assert m.EncryptedData.decode(by_type["enc_data(MSB-set kvno)"]).kvno == 0xFF000000


NO_BITS = bytes.fromhex("a203030100")
"""AP options as an old Windows sends them, without a single bit; RFC 4120 5.2.8 wants 32 to be sent."""

MESSAGES: dict[int, type[der.Message]] = {
    10: m.AsReq,
    11: m.AsRep,
    12: m.TgsReq,
    13: m.TgsRep,
    14: m.ApReq,
    15: m.ApRep,
    30: m.KrbError,
}


def check_message(octets: bytes, name: str) -> der.Message:
    """Decoded by its tag, encoded again, and refused once it is cut."""
    cls = MESSAGES[octets[0] & 0x1F]
    message = cls.decode(octets)
    assert message.encode() == octets, name
    with pytest.raises(MalformedMessage):
        cls.decode(octets[:-1])
    return message


def test_messages_of_dotnet(vectors: Callable[[str], list[Any]]) -> None:
    checked = 0
    for vector in vectors("kerberos_ap_samples"):
        if "der_b64" not in vector:
            continue
        octets = base64.b64decode(vector["der_b64"])
        message = check_message(octets, vector["id"])
        if isinstance(message, m.KdcReq):
            check_padata(message.padata or ())
        checked += 1
    assert checked == 13


def check_padata(padata: tuple[m.PaData, ...]) -> None:
    """What stands inside of requests is read and written the same way."""
    known: dict[int, type[der.Message]] = {
        PaType.TGS_REQ: m.ApReq,
        PaType.ENC_TIMESTAMP: m.EncryptedData,
        PaType.FOR_USER: s4u.PaForUser,
        PaType.PAC_REQUEST: m.PaPacRequest,
        PaType.PAC_OPTIONS: m.PaPacOptions,
        PaType.S4U_X509_USER: s4u.PaS4uX509User,
    }
    for element in padata:
        cls = known.get(element.padata_type)
        if cls is not None:
            message = cls.decode(element.padata_value)
            assert cls.decode(message.encode()) == message
            if NO_BITS not in element.padata_value:
                assert message.encode() == element.padata_value


def test_messages_of_windows_and_scapy(vectors: Callable[[str], list[Any]]) -> None:
    checked = 0
    for vector in vectors("kerberos_fast_preauth_samples"):
        octets = bytes.fromhex(vector.get("message") or vector["as_req"])
        message = check_message(octets, vector["id"])
        if isinstance(message, m.KdcReq):
            check_padata(message.padata or ())
        checked += 1
    assert checked == 11


def test_ap_req_of_dotnet_with_its_key_and_pac(vectors: Callable[[str], list[Any]]) -> None:
    """A whole AP-REQ: framing, ticket, authenticator, checksum, and the PAC proved with the service's key."""
    vector = next(one for one in vectors("kerberos_ap_samples") if one["id"] == "kerberosnet-apreq-aes256")
    token = gss_token.unframe(base64.b64decode(vector["gss_krb5_token_b64"]))
    assert token.kind == gss_token.AP_REQ
    request = m.ApReq.decode(token.body)
    assert request.encode() == token.body
    service = make_key(vector["etype"], bytes.fromhex(vector["service_key"]))
    part_octets = service.decrypt(KeyUsage.TICKET, request.ticket.enc_part.cipher)
    assert part_octets == bytes.fromhex(vector["enc_ticket_part"])
    part = m.EncTicketPart.decode(part_octets)
    assert part.encode() == part_octets
    session = make_key(part.key.keytype, part.key.keyvalue)
    made = session.decrypt(KeyUsage.AP_REQ_AUTHENTICATOR, request.authenticator.cipher)
    assert made == bytes.fromhex(vector["authenticator"])
    authenticator = m.Authenticator.decode(made)
    assert authenticator.encode() == made
    assert authenticator.seq_number == vector["seq_number"]
    assert authenticator.cksum is not None
    assert authenticator.cksum.checksum == bytes.fromhex(vector["authenticator_cksum"])
    assert GssChecksum.unpack(authenticator.cksum.checksum).pack() == authenticator.cksum.checksum
    pac = verify_ticket(part, service)
    assert pac is not None
    assert [buffer.kind for buffer in pac.buffers] == vector["pac_buffers"]
    assert pac.received == base64.b64decode(vector["pac_b64"])
    user = principal_of(pac, KerberosName.of(part.cname, part.crealm))
    assert user.name == "user.test"
    assert user.sid is not None
    assert user.groups
    with pytest.raises(PacRefused):
        verify_ticket(part, service, needed=(PacType.FULL_CHECKSUM,))
    with pytest.raises(BadSignature):
        service.decrypt(KeyUsage.TICKET, request.ticket.enc_part.cipher[:-1] + b"\0")


def test_password_change_of_gokrb5(vectors: Callable[[str], list[Any]]) -> None:
    by_id = {vector["id"]: vector for vector in vectors("kerberos_ap_samples")}
    octets = bytes.fromhex(by_id["gokrb5-changepasswddata"]["der"])
    data = kpasswd.ChangePasswdData.decode(octets)
    assert data.encode() == octets
    frame = bytes.fromhex(by_id["gokrb5-kpasswd-req"]["frame_hex"])
    assert int.from_bytes(frame[:2], "big") == len(frame) == by_id["gokrb5-kpasswd-req"]["total_len"]
    size = int.from_bytes(frame[4:6], "big")
    request = m.ApReq.decode(frame[6 : 6 + size])
    private = m.KrbPriv.decode(frame[6 + size :])
    assert request.encode() + private.encode() == frame[6:]
