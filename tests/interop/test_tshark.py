"""tshark as a second opinion: its dissectors find nothing to complain of in what we emit, and open what is sealed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import anyio
import pytest

from securestream.wire import der
from tests.interop import emitted_credssp
from tests.interop.emitted import ETYPES, MESSAGE_FRAMING_PORT, PASSWORD, UPGRADE, WHO_AM_I, Emitted
from tests.interop.expected_tshark import KINDS, TSHARK
from tests.interop.matrix import Filler
from tests.interop.peers import tshark
from tests.interop.peers.tshark import Dissected

pytestmark = pytest.mark.interop

NOT_OURS: Final = {
    # MIT's tokens have the checksum behind the data, too (EC 12, RRC 0), as RFC 4121 4.2.4 describes it
    "LDAP: Negotiate, Kerberos, signed": "tshark 4.0 takes the checksum of an unsealed token for another LDAP message",
    "LDAP: Negotiate, Kerberos, one way": "tshark 4.0 opens data by keys of AP-REPs alone, and there was none",
    "KDC: refusals": "nobody has the key of a wrong password",
}
"""By kind: why tshark complains of its data all the same."""
EXCUSED: Final = {
    "LDAP: Negotiate, Kerberos, signed": re.compile("malformed|Malformed|BER Error"),
    "LDAP: Negotiate, Kerberos, one way": re.compile("Missing keytype|Used keymap"),
    "KDC: refusals": re.compile("Missing keytype 18 usage 1 |Used keymap"),
}
DAMAGED: Final = "damaged on purpose"
SEALED_MESSAGES: Final = 4
"""Of each LDAP conversation: two operations and their results."""


@dataclass
class Seen:
    """What was emitted, and what became of it.

    Args:
        emitted: what our ends know.
        packets: what tshark says.
    """

    emitted: Emitted
    packets: list[Dissected]

    def of(self, label: str) -> list[Dissected]:
        """The packets of a kind that hold anything."""
        found = [packet for packet in self.packets if packet.label == label and not packet.is_empty]
        assert found, f"nothing was emitted for {label}"
        return found

    def remarks(self, label: str) -> list[str]:
        """What tshark remarks on them."""
        return [remark for packet in self.of(label) for remark in packet.remarks]


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of tshark."""
    return require(tshark)


@pytest.fixture(scope="module")
def seen(version: str, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One run of tshark over everything."""
    folder = tmp_path_factory.mktemp("tshark")
    emitted = Emitted(folder)
    logs = [*anyio.run(emitted.everything), *anyio.run(emitted_credssp.everything, emitted)]
    damage(emitted)
    key_log = folder / "key-log"
    key_log.write_text("".join(log.read_text() for log in logs))
    packets = tshark.dissect(
        emitted.capture,
        folder,
        decode_as=[f"tcp.port=={MESSAGE_FRAMING_PORT},mc-nmf", f"tcp.port=={emitted_credssp.PORT},tls"],
        keytab=emitted.write_keytab(),
        kerberos__decrypt="TRUE",
        ntlmssp__nt_password=PASSWORD,
        tls__keylog_file=str(key_log),
    )
    return Seen(emitted, packets)


def damage(emitted: Emitted) -> None:
    """Add a first message of SPNEGO that has a number in its list of mechanisms, so that there is something to find."""
    listed = der.element(0xA0, der.element(0x30, der.element(2, b"\1")))
    offer = der.element(0x60, bytes.fromhex("06062b0601050502") + der.element(0xA0, der.element(0x30, listed)))
    frame = b"\x16\1\0" + len(offer).to_bytes(2, "big") + offer
    emitted.capture.stream(DAMAGED, MESSAGE_FRAMING_PORT, [*UPGRADE, (True, frame)])


def complaints(packets: list[Dissected]) -> Iterator[str]:
    """What tshark complains of, but for what is excused."""
    for number, packet in enumerate(packets, 1):
        excuse = EXCUSED.get(packet.label)
        for complaint in packet.complaints:
            if excuse is None or not excuse.search(complaint):
                yield f"packet {number} of {packet.label}: {complaint}"


@pytest.mark.parametrize("kind", KINDS)
def test_no_dissector_complains(seen: Seen, kind: str, version: str, matrix: Filler) -> None:
    packets = seen.of(kind)
    assert list(complaints(packets)) == []
    protocols = {protocol for packet in packets for protocol in packet.protocols}
    assert set(KINDS[kind]) <= protocols
    if kind in NOT_OURS:
        assert any(packet.complaints for packet in packets), "no excuse is needed any longer"
    opinion = f"no complaint but that {NOT_OURS[kind]}" if kind in NOT_OURS else "no complaint"
    matrix.fill(TSHARK, tshark.NAME, version, "decoder", kind, opinion)


def test_no_exchange_with_a_kdc_is_complained_of(seen: Seen) -> None:
    packets = [packet for packet in seen.packets if packet.label.endswith("KDC")]
    assert packets
    assert list(complaints(packets)) == []


def test_a_ticket_to_hand_on_is_asked_for_by_fast_where_the_kdc_does_it(seen: Seen) -> None:
    assert any(" usage 51 " in remark for remark in seen.remarks("LDAP: Negotiate, Kerberos, delegated: KDC"))


def test_everything_emitted_is_looked_at(seen: Seen) -> None:
    emitted = {label for label in seen.emitted.capture.labels if not label.endswith("KDC")}
    assert emitted - {DAMAGED} == set(KINDS)


def test_a_damaged_message_is_complained_of(seen: Seen) -> None:
    assert list(complaints(seen.of(DAMAGED)))


@pytest.mark.parametrize("etype", ETYPES)
def test_tickets_and_authenticators_are_opened_and_the_pac_is_verified(seen: Seen, etype: int) -> None:
    offer, answer, *_ = seen.of(f"LDAP: Negotiate, Kerberos {etype}")
    remarks = " ".join(offer.remarks)
    for usage in (2, 11):  # of the ticket and of the authenticator
        assert f"Decrypted keytype {etype} usage {usage} " in remarks
    for signature in ("Server", "KDC", "Ticket"):
        assert f"Verified {signature} checksum" in remarks
    assert "Learnt authenticator_subkey" in remarks
    assert f"Decrypted keytype {etype} usage 12 " in " ".join(answer.remarks)
    assert "kerberos.pac.upn.samaccountname" in offer.fields
    assert "alice" in offer.fields["kerberos.pac.upn.samaccountname"]


@pytest.mark.parametrize("etype", ETYPES)
def test_sealed_data_is_opened(seen: Seen, etype: int) -> None:
    sealed = seen.of(f"LDAP: Negotiate, Kerberos {etype}")[-SEALED_MESSAGES:]
    for number, packet in enumerate(sealed):
        usage = 24 if number % 2 == 0 else 22  # sealed by the initiator, by the acceptor (RFC 4121 2)
        assert any(re.match(rf"Decrypted keytype \d+ usage {usage} ", remark) for remark in packet.remarks)
    assert [packet.fields.get("ldap.requestName") for packet in sealed[::2]] == [[WHO_AM_I.decode()]] * 2


def test_delegated_credentials_are_opened(seen: Seen) -> None:
    offer = seen.of("LDAP: Negotiate, Kerberos, delegated")[0]
    assert "kerberos.encKrbCredPart_element" in offer.fields
    assert any(" usage 14 " in remark for remark in offer.remarks)


@pytest.mark.parametrize(("kind", "fields"), emitted_credssp.DELEGATED.items())
def test_credentials_in_credssp_are_opened_by_the_key_log_and_the_keytab(
    seen: Seen, kind: str, fields: dict[str, list[str]]
) -> None:
    *_, delegating = (packet for packet in seen.of(kind) if "credssp.authInfo" in packet.fields)
    assert {name: delegating.fields.get(f"credssp.{name}") for name in fields} == fields


def test_a_refusal_in_credssp_is_an_ntstatus(seen: Seen) -> None:
    codes = [
        packet.fields["credssp.errorCode"]
        for packet in seen.of("CredSSP: NTLM, refused")
        if "credssp.errorCode" in packet.fields
    ]
    assert codes == [[str(0xC000006D - (1 << 32))]]  # STATUS_LOGON_FAILURE


@pytest.mark.parametrize("kind", ["LDAP: Negotiate, NTLM", "LDAP: Negotiate, NTLM, signed"])
def test_the_response_of_ntlm_is_verified_and_its_session_key_is_ours(seen: Seen, kind: str) -> None:
    remarks = seen.remarks(kind)
    assert any(remark.startswith("NTLMv2 authenticated using") for remark in remarks)
    assert f"NTLMSSP SessionKey ({seen.emitted.ntlm_keys[kind].hex()})" in remarks


@pytest.mark.parametrize("label", ["KDC: datagrams", "KDC: streams"])
def test_exchanges_with_a_kdc_are_opened(seen: Seen, label: str) -> None:
    remarks = " ".join(seen.remarks(label))
    # pre-authentication, tickets, AS-REP, the authenticator of a TGS-REQ, FAST's request and answer
    for usage in (1, 2, 3, 7, 51, 52):
        assert f" usage {usage} " in remarks, usage
    fields = {name for packet in seen.of(label) for name in packet.fields}
    # user-to-user's second ticket, and what a PAC says of S4U2proxy
    assert {"kerberos.additional_tickets", "kerberos.pac_s4u_delegation_info"} <= fields


def test_tls_is_opened_by_the_key_log(seen: Seen) -> None:
    packets = seen.of("TLS 1.3")
    inner = {kind for packet in packets for kind in packet.fields.get("tls.handshake.type", ())}
    assert {"1", "2", "8", "11", "20"} <= inner  # all after the hellos are sealed: extensions, certificate, Finished
    closing = packets[-1]
    assert closing.fields["tls.record.opaque_type"] == ["23"]
    assert closing.fields["tls.record.content_type"] == ["21"]
