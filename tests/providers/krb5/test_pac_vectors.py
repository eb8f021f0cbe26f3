"""PACs of Windows, Samba and MIT: read, proved with the keys that came with them, and no octet of them altered."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import MalformedMessage
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.messages import AuthorizationData, AuthorizationElement, EncTicketPart, Ticket
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import AdType, KeyUsage, NameType
from securestream_providers.krb5.pac import Pac, PacBuffer, PacRefused, PacType, find_pac
from securestream_providers.krb5.pac_buffers import ClientInfo, Signature, UpnDnsInfo
from securestream_providers.krb5.pac_claims import Claims, Compression
from securestream_providers.krb5.pac_logon import LogonInfo
from securestream_providers.krb5.pac_principal import LOGON_SERVER, principal_of
from securestream_providers.krb5.pac_signing import sign_ticket, signed_ticket, verify_pac, verify_ticket

ALL_SIGNATURES = (PacType.TICKET_CHECKSUM, PacType.FULL_CHECKSUM)


@pytest.fixture(scope="module")
def vectors(shared: Path) -> dict[str, Any]:
    read = json.loads((shared / "vectors" / "pac_samples.json").read_text(encoding="utf-8"))
    return {vector["id"]: vector for vector in read["vectors"]}


def key_of(vector: Any, name: str = "server_key") -> Key:
    return make_key(vector[name]["etype"], bytes.fromhex(vector[name]["key"]))


WHOLE = {
    "gokrb5-pac": ("testuser1", 1494085991),
    "mit-saved-pac": ("w2003final$", 1120440609),
    "mit-s4u_pac_regular": ("w2k8u", 1538430362),
    "mit-s4u_pac_enterprise": ("w2k8u@abc", 1538437551),
}


def whole(vectors: dict[str, Any], name: str) -> tuple[Pac, Key, Key | None, KerberosName, datetime]:
    vector = vectors[name]
    pac = Pac.decode(base64.b64decode(vector["pac_b64"]))
    client, moment = WHOLE[name]
    kind = NameType.ENTERPRISE if vector.get("client_enterprise") else NameType.PRINCIPAL
    kdc = key_of(vector, "kdc_key") if "kdc_key" in vector else None
    return pac, key_of(vector), kdc, KerberosName("R", (client,), kind), datetime.fromtimestamp(moment, UTC)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_pac_is_read_and_proved(vectors: dict[str, Any], name: str) -> None:
    pac, server, kdc, client, moment = whole(vectors, name)
    found = [(buffer.kind, place, len(buffer.octets)) for buffer, place in zip(pac.buffers, pac.places, strict=True)]
    assert found == [(entry["type"], entry["offset"], entry["size"]) for entry in vectors[name]["buffers"]]
    verify_pac(pac, server, client, moment, kdc_key=kdc)
    assert Pac(pac.buffers).encode() == pac.received


@pytest.mark.parametrize("name", WHOLE)
def test_every_buffer_is_written_as_it_came(vectors: dict[str, Any], name: str) -> None:
    pac = whole(vectors, name)[0]
    assert pac.logon_info is not None
    assert pac.client_info is not None
    assert pac.logon_info.pack() == pac.get(PacType.LOGON_INFO)
    assert pac.client_info.pack() == pac.get(PacType.CLIENT_INFO)
    if pac.upn_dns_info is not None:
        assert pac.upn_dns_info.pack() == pac.get(PacType.UPN_DNS_INFO)
    for kind in (PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM):
        signature = pac.signature(kind)
        assert signature is not None
        assert signature.pack() == pac.get(kind)


@pytest.mark.parametrize("name", WHOLE)
def test_every_altered_octet_is_refused(vectors: dict[str, Any], name: str) -> None:
    """Of the KDC's signature a service can prove nothing: MIT's sample with both keys proves that one too."""
    pac, server, kdc, client, moment = whole(vectors, name)
    unproved = set[int]()
    if kdc is None:
        at = pac.places[[buffer.kind for buffer in pac.buffers].index(PacType.KDC_CHECKSUM)]
        unproved = set(range(at + 4, at + 20))
    for at in range(len(pac.received)):
        altered = bytearray(pac.received)
        altered[at] ^= 1 + at % 255
        if at in unproved:
            continue
        with pytest.raises((MalformedMessage, PacRefused)):
            verify_pac(Pac.decode(altered), server, client, moment, kdc_key=kdc)


def test_principal_of_a_windows_pac(vectors: dict[str, Any]) -> None:
    pac = whole(vectors, "gokrb5-pac")[0]
    principal = principal_of(pac, KerberosName("TEST.GOKRB5", ("testuser1",)))
    domain = "S-1-5-21-3167651404-3865080224-2280184895"
    assert (principal.name, principal.authority, principal.upn) == ("testuser1", "TEST.GOKRB5", "testuser1@test.gokrb5")
    assert principal.sid == f"{domain}-1105"
    assert principal.groups == tuple(f"{domain}-{number}" for number in (513, 1108, 1109, 1115, 1116, 1114, 1111))
    assert principal.claimed(LOGON_SERVER) == ("ADDC",)


def windows_2022(vectors: dict[str, Any]) -> tuple[EncTicketPart, Key, Key]:
    vector = vectors["mit-w2022-ticket-full-checksum"]
    server = key_of(vector)
    ticket = Ticket.decode(base64.b64decode(vector["ticket_b64"]))
    octets = server.decrypt(KeyUsage.TICKET, ticket.enc_part.cipher)
    assert octets == base64.b64decode(vector["enc_ticket_part_b64"])
    return EncTicketPart.decode(octets), server, key_of(vector, "krbtgt_key")


def test_all_four_signatures_of_windows_2022(vectors: dict[str, Any]) -> None:
    ticket, server, krbtgt = windows_2022(vectors)
    vector = vectors["mit-w2022-ticket-full-checksum"]
    assert find_pac(ticket.authorization_data) == base64.b64decode(vector["pac_b64"])
    assert signed_ticket(ticket) == base64.b64decode(vector["ticket_signature_input_b64"])
    pac = verify_ticket(ticket, server, kdc_key=krbtgt, needed=ALL_SIGNATURES)
    assert pac is not None
    upn, logon = pac.upn_dns_info, pac.logon_info
    assert upn is not None
    assert logon is not None
    assert upn.pack() == pac.get(PacType.UPN_DNS_INFO)
    assert LogonInfo.unpack(logon.pack()) == logon  # but for the numbers of referents, octet for octet
    assert upn.sam_name == logon.effective_name == "Administrator"
    assert upn.sid == logon.sid == "S-1-5-21-133451344-1126667713-3548050118-500"


def test_every_altered_octet_of_windows_2022s_pac_is_refused(vectors: dict[str, Any]) -> None:
    ticket, server, krbtgt = windows_2022(vectors)
    octets = find_pac(ticket.authorization_data) or b""
    client = KerberosName.of(ticket.cname, ticket.crealm)
    for at in range(len(octets)):
        altered = bytearray(octets)
        altered[at] ^= 1 + at % 255
        with pytest.raises((MalformedMessage, PacRefused)):
            verify_pac(Pac.decode(altered), server, client, ticket.authtime, kdc_key=krbtgt, ticket=ticket)


def test_a_ticket_signed_again_differs_in_nothing(vectors: dict[str, Any]) -> None:
    """The same buffers, keys and ticket give Windows' own four signatures, once they stand where Windows has them."""
    ticket, server, krbtgt = windows_2022(vectors)
    original = Pac.decode(find_pac(ticket.authorization_data) or b"")
    again = sign_ticket(ticket, original.buffers, server, krbtgt)
    pac = verify_ticket(again, server, kdc_key=krbtgt, needed=ALL_SIGNATURES)
    assert pac is not None
    assert pac.get(PacType.TICKET_CHECKSUM) == original.get(PacType.TICKET_CHECKSUM)
    assert {buffer.kind: len(buffer.octets) for buffer in pac.buffers} == {
        buffer.kind: len(buffer.octets) for buffer in original.buffers
    }


def test_single_buffers(vectors: dict[str, Any]) -> None:
    def octets(name: str) -> bytes:
        return bytes.fromhex(vectors[f"gokrb5-Marshaled{name}"]["data_hex"])

    for name in ("PAC_Kerb_Validation_Info_MS", "PAC_Kerb_Validation_Info"):
        assert LogonInfo.unpack(octets(name)).pack() == octets(name)
    microsoft = LogonInfo.unpack(octets("PAC_Kerb_Validation_Info_MS"))
    assert (microsoft.effective_name, microsoft.logon_server, len(microsoft.groups)) == ("lzhu", "NTDEV-DC-05", 26)
    assert (len(microsoft.extra_sids), microsoft.logon_script) == (13, "ntds2.bat")
    client = ClientInfo.unpack(octets("PAC_Client_Info"))
    assert (client.name, client.pack()) == ("testuser1", octets("PAC_Client_Info"))
    upn = UpnDnsInfo.unpack(octets("PAC_UPN_DNS_Info"))
    assert (upn.dns_domain, upn.pack()) == ("TEST.GOKRB5", octets("PAC_UPN_DNS_Info"))
    for name, kind in (("PAC_Server_Signature", 16), ("PAC_KDC_Signature", -138)):
        signature = Signature.unpack(octets(name))
        assert (signature.kind, signature.rodc, signature.pack()) == (kind, None, octets(name))


@pytest.mark.parametrize("name", ["PAC_AuthorizationData_MS", "PAC_AuthorizationData_GOKRB5"])
def test_authorisation_data_leads_to_the_pac(vectors: dict[str, Any], name: str) -> None:
    """One of the samples is the content of AD-IF-RELEVANT, the other one holds it."""
    data = AuthorizationData.decode(bytes.fromhex(vectors[f"gokrb5-Marshaled{name}"]["data_hex"]))
    if data.elements[0].ad_type == AdType.WIN2K_PAC:
        assert find_pac(data) is None
        data = AuthorizationData((AuthorizationElement(AdType.IF_RELEVANT, data.encode()),))
    pac = Pac.decode(find_pac(data) or b"")
    assert pac.logon_info is not None
    assert Pac(pac.buffers) == pac


CLAIMS = {
    "Str": [("ad://ext/sAMAccountName:88d5d9085ea5c0c0", ("testuser1",))],
    "Int": [("ad://ext/msDS-SupportedE:88d5dea8f1af5f19", ("28",))],
    "Multi": [
        ("ad://ext/msDS-SupportedE:88d5dea8f1af5f19", ("28",)),
        ("ad://ext/sAMAccountName:88d5d9085ea5c0c0", ("testuser1",)),
    ],
    "MultiStr": [("ad://ext/otherIpPhone:88d5de9f6b4af985", ("str1", "str2", "str3", "str4"))],
    "_XPRESS_HUFF": [
        ("ad://ext/objectClass:88d5de791e7b27e6", ("655369", "65543", "65542", "65536")),
        ("ad://ext/sAMAccountName:88d5d9085ea5c0c0", ("testuser1",)),
        ("ad://ext/sAMAccountType:88d5de79a7ecf8c7", ("805306368",)),
    ],
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims(vectors: dict[str, Any], name: str) -> None:
    octets = bytes.fromhex(vectors[f"gokrb5-MarshaledPAC_ClientClaimsInfo{name}"]["data_hex"])
    claims = Claims.unpack(octets)
    assert [(claim.id, claim.texts) for claim in claims.all] == CLAIMS[name]
    if claims.compression == Compression.NONE:
        assert claims.pack() == octets
    assert Claims.unpack(claims.pack()).arrays == claims.arrays


def test_mits_malformed_sample(vectors: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        Pac.decode(bytes.fromhex(vectors["mit-pac-fuzz1"]["pac_hex"]))


def test_every_vector_of_the_file_is_used(vectors: dict[str, Any]) -> None:
    single = {"Kerb_Validation_Info_MS", "Kerb_Validation_Info", "Client_Info", "UPN_DNS_Info"}
    single |= {"Server_Signature", "KDC_Signature", "AuthorizationData_MS", "AuthorizationData_GOKRB5"}
    used = {*WHOLE, "mit-pac-fuzz1", "mit-w2022-ticket-full-checksum"}
    used |= {f"gokrb5-MarshaledPAC_{name}" for name in (*single, *(f"ClientClaimsInfo{name}" for name in CLAIMS))}
    assert used == set(vectors)


def test_a_buffer_added_to_a_proved_pac_is_refused(vectors: dict[str, Any]) -> None:
    pac, server, kdc, client, moment = whole(vectors, "mit-saved-pac")
    with pytest.raises(PacRefused):
        verify_pac(Pac((*pac.buffers, PacBuffer(99, b""))), server, client, moment, kdc_key=kdc)
