"""Kerberos as a tree: tokens, KDC exchanges, tickets with PAC, messages, opened by keytab and by what they hold."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from securestream.credentials import Keytab
from securestream.errors import UsageError
from securestream.inspection import InspectionKey, Node
from securestream.options import ContextFlags
from securestream.provider import Cover
from securestream_providers.kerberos.client import ClientSettings, initial_ticket, service_ticket
from securestream_providers.kerberos.effects import KdcRequest
from securestream_providers.kerberos.user_to_user import tgt_reply, tgt_request
from securestream_providers.krb5.ap_requests import make_ap_req
from securestream_providers.krb5.keys import Key, random_key, string_to_key
from securestream_providers.krb5.kkdcp import wrap_proxied
from securestream_providers.krb5.kpasswd import CHANGE, SET, PasswordRequest, frame_request
from securestream_providers.krb5.krb_cred import make_krb_cred
from securestream_providers.krb5.messages import (
    AuthorizationData,
    AuthorizationElement,
    EncKrbPrivPart,
    EncryptedData,
    HostAddress,
    KrbPriv,
)
from securestream_providers.krb5.numbers import AdType, KeyUsage
from tests import providers
from tests.cli.looking import at, key, look, problems, run, value
from tests.providers.kerberos import scripted_kdc
from tests.providers.kerberos.driving import drive
from tests.providers.kerberos.ends import BINDINGS, NOW, Realm, keytab, meet, options, package
from tests.providers.kerberos.scripted_kdc import ALICE, CONFIG, PASSWORD, SALT, SERVICE, ScriptedKdc
from tests.providers.kerberos.test_client_exchanges import KEYS, session
from tests.providers.krb5.pacs import BUFFERS, TGT_BUFFERS

OWN = Path(providers.__file__).with_name("kerberos") / "live_captures.json"
CAPTURES: list[dict[str, Any]] = json.loads(OWN.read_text())["vectors"]
by_capture = pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture["id"])


def of_key(held: Key) -> InspectionKey:
    """A key of Kerberos in a key file."""
    return key(str(held.etype), held.contents.reveal())


def octets_of(file: Keytab) -> bytes:
    """A keytab's octets."""
    assert file.octets is not None
    return file.octets.reveal()


def secrets(*nodes: Node) -> set[object]:
    """All values that count as secrets."""
    return {inner.value for node in nodes for inner in node.walk() if inner.secret}


# --- captures of MIT krb5 --------------------------------------------------------------------------------------------


@by_capture
def test_a_conversation_of_mit_is_opened_by_the_services_key_alone(capture: dict[str, Any]) -> None:
    """The ticket gives the session key, that the subkeys, those the messages."""
    context = [bytes.fromhex(token) for token in capture["context_tokens"]]
    messages = {name: bytes.fromhex(token) for name, token in capture["tokens"].items() if name.startswith("wrap")}
    nodes = look(*context, *messages.values(), keys=[key(str(capture["etype"]), bytes.fromhex(capture["service_key"]))])
    assert not problems(*nodes)
    found = secrets(*nodes[: len(context)])
    assert bytes.fromhex(capture["session_key"]) in found
    assert bytes.fromhex(capture["initiator_subkey"]) in found
    assert bytes.fromhex(capture["acceptor_subkey"]) in found
    first = nodes[0]
    assert value(first, "ticket") == capture["service_principal"]
    assert value(first, "authenticator", "seq-number") == capture["initiator_seq"]
    assert "MUTUAL" in at(first, "cksum", "flags").note
    assert value(nodes[1], "seq-number") == capture["acceptor_seq"]
    for node in nodes[len(context) :]:
        assert value(node, "data") == bytes.fromhex(capture["message"]), node.name


@by_capture
def test_without_a_key_it_shows_what_stands_in_clear(capture: dict[str, Any]) -> None:
    nodes = look(*(bytes.fromhex(token) for token in capture["context_tokens"]))
    assert not secrets(*nodes)
    assert not problems(*nodes)
    assert value(nodes[0], "ticket") == capture["service_principal"]
    assert at(nodes[0], "ticket", "enc-part").note == "sealed: no key was given"
    assert value(nodes[0], "ticket", "kvno") == 1


@by_capture
def test_a_token_is_read_up_to_where_it_ends(capture: dict[str, Any]) -> None:
    for token in [*capture["context_tokens"], *capture["tokens"].values()]:
        octets = bytes.fromhex(token)
        for size in range(1, len(octets), 7):
            look(octets[:size])
    octets = bytes.fromhex(capture["context_tokens"][0])
    (node,) = look(octets[:-10])
    assert problems(node)
    assert "KRBTEST.COM" in {inner.value for inner in node.walk()}


def test_the_tokens_that_protect_messages_without_a_key() -> None:
    tokens = CAPTURES[0]["tokens"]
    mic, sealed = look(bytes.fromhex(tokens["mic_i"]), bytes.fromhex(tokens["wrap_conf_a"]))
    assert mic.name == "Kerberos MIC token"
    assert at(sealed, "flags").note == "SentByAcceptor Sealed AcceptorSubkey"
    assert sealed.find("data") is None


# --- our own ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("etype", [16, 17, 18, 19, 20, 23, 25, 26])
def test_every_encryption_type_by_keytab(etype: int) -> None:
    realm = Realm(etype)
    end = package(etype)
    met = meet(realm.tickets(), realm.keytab, client=end, server=end)
    one, two = met.contexts
    wrapped = [one.wrap(b"to the service"), two.wrap(b"to the client", encrypt=False)]
    nodes = look(*met.tokens, *wrapped, keytab=octets_of(realm.keytab))
    assert not problems(*nodes)
    assert [value(node, "data") for node in nodes[2:]] == [b"to the service", b"to the client"]
    assert "opened with host/files.corp.example@CORP.EXAMPLE, key version 1" in at(nodes[0], "enc-part").note


def test_dce_style_has_no_frame_and_a_third_leg() -> None:
    realm = Realm()
    flags = ContextFlags.MUTUAL | ContextFlags.DCE_STYLE
    met = meet(realm.tickets(), realm.keytab, mine=options(1, flags=flags))
    nodes = look(*met.tokens, keytab=octets_of(realm.keytab))
    assert [node.name for node in nodes] == ["Kerberos AP-REQ", "Kerberos AP-REP", "Kerberos AP-REP"]
    assert nodes[2].find("EncApRepPart") is not None


def test_bindings_delegation_and_what_the_authenticator_says() -> None:
    realm = Realm()
    mine = options(1, bindings=BINDINGS)
    met = meet(realm.tickets(), realm.keytab, mine=mine, theirs=options(2, bindings=BINDINGS))
    (first, *_) = look(*met.tokens, keytab=octets_of(realm.keytab))
    assert any(value(first, "channel bindings"))
    assert at(first, "AP_OPTIONS").note == "CHANNEL_BINDINGS_SUPPORTED"
    assert str(value(first, "authenticator", "ctime")) == "2026-03-01 12:00:00+00:00"


def test_an_error_says_its_name_and_the_clock() -> None:
    realm = Realm()
    late = options(2, now=options().clock().replace(hour=20))
    met = meet(realm.tickets(), realm.keytab, theirs=late)
    node = look(*met.tokens)[-1]
    assert at(node, "error-code").note == "AP_SKEW"
    assert value(node, "stime").hour == 20


# --- PAC -------------------------------------------------------------------------------------------------------------


def with_pac(realm: Realm, buffers: Sequence[Any] = BUFFERS) -> Node:
    part = realm.with_pac(buffers)
    return look(realm.seal(part), keys=[of_key(realm.key), of_key(realm.krbtgt)])[0]


def test_a_pac_with_sids_names_and_proved_signatures() -> None:
    pac = at(with_pac(Realm()), "PAC")
    assert value(pac, "account").endswith("-1105")
    assert at(pac, "LOGON_INFO", "primary group id").note == "Domain Users"
    groups = {str(node.value): node.note for node in pac.walk() if node.name == "group"}
    assert groups["S-1-18-1"] == "Authentication Authority Asserted Identity"
    assert any("USE_FOR_DENY_ONLY" in note for note in groups.values())
    assert value(pac, "UPN_DNS_INFO", "user principal name")
    assert value(pac, "DELEGATION_INFO", "target")
    assert pac.find("claim") is not None
    assert at(pac, "SERVER_CHECKSUM").note == "fits the key of the ticket"
    assert at(pac, "KDC_CHECKSUM").note == "fits the test's key"
    assert at(pac, "FULL_CHECKSUM").note == "fits the test's key"
    assert not problems(pac)
    assert value(at(with_pac(Realm(), TGT_BUFFERS), "PAC"), "REQUESTOR_SID", "SID") == "S-1-5-18"


def test_a_pac_signed_by_somebody_else_is_marked() -> None:
    realm, forger = Realm(), Realm()
    part = forger.with_pac(BUFFERS)
    (node,) = look(realm.seal(part), keys=[of_key(realm.key)])
    assert problems(node) == ["does not fit the key of the ticket"]


def test_a_pac_that_is_damaged_is_shown_as_far_as_it_goes() -> None:
    realm = Realm()
    buffers = [replace(BUFFERS[0], octets=BUFFERS[0].octets[:40]), *BUFFERS[1:]]
    node = with_pac(realm, buffers)
    assert at(node, "LOGON_INFO").problem
    assert at(node, "SERVER_CHECKSUM").note == "fits the key of the ticket"


def test_authorisation_data_of_other_kinds() -> None:
    realm = Realm()
    inner = AuthorizationData(
        (
            AuthorizationElement(AdType.TARGET_PRINCIPAL, "host/x".encode("utf-16-le")),
            AuthorizationElement(999, b"\xff"),
            AuthorizationElement(AdType.IF_RELEVANT, b"\x30\x05broken"),
        )
    )
    part = realm.part(authorization_data=inner)
    (node,) = look(realm.seal(part), keys=[of_key(realm.key)])
    assert value(node, "TARGET_PRINCIPAL") == "host/x"
    assert value(node, "AD type 999") == b"\xff"
    assert at(node, "IF_RELEVANT").problem


def test_authorisation_data_in_itself_ends_somewhere() -> None:
    data = AuthorizationData((AuthorizationElement(999, b""),))
    for _ in range(60):
        data = AuthorizationData((AuthorizationElement(AdType.IF_RELEVANT, data.encode()),))
    realm = Realm()
    (node,) = look(realm.seal(realm.part(authorization_data=data)), keys=[of_key(realm.key)])
    assert any("not looked into" in inner.note for inner in node.walk())


# --- KDC exchanges ---------------------------------------------------------------------------------------------------


class Recorder:
    """What went between a client and a KDC, in order."""

    def __init__(self, kdc: ScriptedKdc) -> None:
        self.kdc = kdc
        self.tokens: list[bytes] = []

    def answers(self) -> dict[Any, Any]:
        return {**self.kdc.answers(), KdcRequest: self.ask}

    def ask(self, effect: KdcRequest) -> bytes:
        reply = self.kdc.ask(effect)
        self.tokens += [effect.message, reply]
        return reply


def test_a_log_on_and_a_service_ticket_by_the_users_key() -> None:
    recorder = Recorder(ScriptedKdc())
    asking = session()
    made = drive(initial_ticket(asking, ALICE, KEYS), recorder.answers())
    drive(service_ticket(asking, made.ticket, SERVICE), recorder.answers())
    nodes = look(*recorder.tokens, keys=[of_key(string_to_key(18, PASSWORD, SALT))])
    assert [node.name.removeprefix("Kerberos ") for node in nodes] == [
        *("AS-REQ", "KRB-ERROR", "AS-REQ", "AS-REP", "TGS-REQ", "TGS-REP"),
    ]
    assert not problems(*nodes)
    assert "CANONICALIZE" in at(nodes[4], "kdc-options").note
    assert at(nodes[0], "etype", "etype").note
    assert at(nodes[1], "error-code").note == "PREAUTH_REQUIRED"
    assert at(nodes[1], "e-data").note == "MethodData"
    assert value(nodes[1], "salt") == SALT
    assert at(nodes[2], "PA-ENC-TIMESTAMP").note.endswith("opened with the test's key")
    assert value(nodes[2], "patimestamp") == scripted_kdc.NOW
    assert at(nodes[3], "EncAsRepPart").note
    assert at(nodes[4], "PA-TGS-REQ", "authenticator").note == "opened with the session key of a KDC's reply"
    assert at(nodes[5], "EncTgsRepPart", "sname").value == "host/db.example.com"


def test_armor_is_opened_by_the_key_of_the_ticket_that_makes_it() -> None:
    kdc = ScriptedKdc()
    armor = drive(initial_ticket(session(), ALICE, KEYS), kdc.answers()).ticket
    recorder = Recorder(ScriptedKdc(tgt_key=kdc.tgt_key))
    drive(initial_ticket(session(ClientSettings(CONFIG, armor=armor)), ALICE, KEYS), recorder.answers())
    keys = [of_key(kdc.tgt_key), of_key(string_to_key(18, PASSWORD, SALT))]
    nodes = look(*recorder.tokens, keys=keys)
    assert not problems(*nodes)
    request, reply = nodes[-2:]
    assert at(request, "PA-FX-FAST", "enc-fast-req").note == "opened with the armor of FAST"
    assert at(request, "PA-FX-FAST", "FastReq", "PA-ENCRYPTED-CHALLENGE").note.startswith("type 138, opened with")
    assert at(reply, "PA-FX-FAST", "FastResponse", "strengthen-key").children
    assert reply.find("EncAsRepPart") is not None


def test_what_carries_messages_of_a_kdc() -> None:
    recorder = Recorder(ScriptedKdc())
    drive(initial_ticket(session(), ALICE, KEYS), recorder.answers())
    message = recorder.tokens[0]
    by_tcp, by_proxy = look(len(message).to_bytes(4, "big") + message, wrap_proxied(message, "EXAMPLE.COM"))
    assert by_tcp.name == "Kerberos AS-REQ"
    assert by_tcp.note.endswith("behind its length, as over TCP")
    assert value(by_proxy, "target-domain") == "EXAMPLE.COM"
    assert by_proxy.find("Kerberos AS-REQ") is not None


@pytest.mark.parametrize("version", [CHANGE, SET])
def test_a_request_for_a_new_password(version: int) -> None:
    """The password that stands in it is a secret."""
    realm = Realm()
    ticket = realm.cached()
    subkey = random_key(18, bytes)
    ap_req = make_ap_req(ticket, NOW, bytes, subkey=subkey)
    part = EncKrbPrivPart(b"hunter2", s_address=HostAddress(2, bytes((192, 0, 2, 7))))
    sealed = EncryptedData(18, None, subkey.encrypt(KeyUsage.KRB_PRIV, part.encode(), bytes))
    request = frame_request(PasswordRequest(version, ap_req, KrbPriv(5, 21, sealed).encode()))
    (node,) = look(request, keys=[of_key(realm.key)])
    assert not problems(node)
    assert (value(node, "user-data"), at(node, "user-data").secret) == (b"hunter2", True)
    assert (value(node, "s-address"), at(node, "s-address").note) == ("192.0.2.7", "IPv4")


def test_tickets_that_are_handed_on() -> None:
    realm = Realm()
    assert realm.session is not None
    (node,) = look(make_krb_cred([realm.cached()], realm.key, NOW, bytes), keys=[of_key(realm.key)])
    assert value(node, "KrbCredInfo", "prealm") == "CORP.EXAMPLE"
    assert realm.session.contents.reveal() in secrets(node)
    assert value(node, "tickets", "Ticket", "sname") == "host/files.corp.example"


def test_the_first_tokens_of_user_to_user() -> None:
    realm = Realm()
    asking, answering = look(tgt_request(realm.client), tgt_reply(realm.seal(realm.part())))
    assert at(asking, "mechanism").note == "Kerberos user-to-user"
    assert value(asking, "server-name") == "alice"
    assert value(answering, "ticket", "sname") == "host/files.corp.example"


def test_messages_like_a_ticket_that_hold_something_else_are_no_ticket() -> None:
    (node,) = look(b"\x61\x04\x30\x02\x05\x00")
    assert node.name == "Kerberos Ticket"
    assert problems(node)
    assert node.find("NULL") is not None


# --- keys that cannot be used ----------------------------------------------------------------------------------------


def test_a_damaged_keytab_ends_the_inspection_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="keytab cannot be used"):
        look(bytes.fromhex(CAPTURES[0]["context_tokens"][0]), keytab=b"\x05\x02\0\0\0\x09abc")


@pytest.mark.parametrize(
    ("kind", "octets", "why"),
    [("18", bytes(16), "32 octets"), ("aes256", bytes(5), "32 octets"), ("telepathy", bytes(16), "no kind of key")],
)
def test_a_key_of_another_length_or_kind_is_refused(kind: str, octets: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        look(bytes.fromhex(CAPTURES[0]["context_tokens"][0]), keys=[key(kind, octets)])


def test_a_key_without_a_kind_is_tried_as_every_type_of_its_length() -> None:
    realm = Realm(20)
    met = meet(realm.tickets(), realm.keytab, **both(20))
    nodes = look(*met.tokens, keys=[key("", realm.key.contents.reveal())])
    assert nodes[0].find("EncTicketPart") is not None


def both(etype: int) -> dict[str, Any]:
    end = package(etype)
    return {"client": end, "server": end}


def test_the_wrong_key_opens_nothing_and_is_no_error() -> None:
    realm = Realm()
    met = meet(realm.tickets(), realm.keytab)
    nodes = look(*met.tokens, keytab=octets_of(keytab((realm.service, 1, Realm().key))))
    assert at(nodes[0], "ticket", "enc-part").note == "sealed: none of 1 keys opens it"
    assert not problems(*nodes)


# --- everybody's messages --------------------------------------------------------------------------------------------


def test_every_message_of_the_reference_is_known(shared: Path) -> None:
    for vector in json.loads((shared / "vectors" / "krb5_asn1_reference.json").read_text())["vectors"]:
        octets = bytes.fromhex(vector["der"])
        (node,) = look(octets)
        if octets[0] >> 6 == 1:
            assert node.name.startswith("Kerberos "), vector["id"]
        else:
            assert "unknown" not in node.note, vector["id"]


def test_a_ticket_of_windows_is_opened_with_all_it_holds(shared: Path) -> None:
    vectors = json.loads((shared / "vectors" / "kerberos_ap_samples.json").read_text())["vectors"]
    vector = next(one for one in vectors if one["id"] == "kerberosnet-apreq-aes256")
    keys = [key(str(vector["etype"]), bytes.fromhex(vector["service_key"]))]
    (node,) = look(base64.b64decode(vector["spnego_token_b64"]), keys=keys)
    assert not problems(node)
    assert at(node, "SERVER_CHECKSUM").note == "fits the key of the ticket"
    assert value(node, "Authenticator", "seq-number") == vector["seq_number"]
    assert bytes.fromhex(vector["session_key"]["key"]) in secrets(node)
    assert bytes.fromhex(vector["subkey"]["key"]) in secrets(node)


def test_messages_of_windows_and_of_its_kdc_are_read_to_their_end(shared: Path) -> None:
    """Log-ons, referrals, S4U: nothing is malformed, whatever nobody has the key for."""
    vectors = json.loads((shared / "vectors" / "kerberos_ap_samples.json").read_text())["vectors"]
    messages = [one for one in vectors if "der_b64" in one and one.get("application_tag") is not None]
    assert len(messages) > 10
    for vector in messages:
        (node,) = look(base64.b64decode(vector["der_b64"]))
        assert node.name.startswith("Kerberos "), vector["id"]
        assert not problems(node), vector["id"]


def test_the_command_with_a_keytab_in_a_file(tmp_path: Path) -> None:
    realm = Realm()
    met = meet(realm.tickets(realm.with_pac(BUFFERS)), realm.keytab)
    file, tokens = tmp_path / "service.keytab", tmp_path / "tokens"
    file.touch(0o600)
    file.write_bytes(octets_of(realm.keytab))
    tokens.write_text("\n\n".join(base64.b64encode(token).decode() for token in met.tokens))
    status, shown = run("--file", tokens, "--keytab", file)
    assert status == 0
    assert "opened with host/files.corp.example@CORP.EXAMPLE, key version 1" in shown
    assert "SERVER_CHECKSUM  (fits the key of the ticket)" in shown
    file.write_bytes(b"no keytab")
    with pytest.raises(UsageError, match="keytab cannot be used"):
        run("--file", tokens, "--keytab", file)


def test_what_is_sealed_in_parts_in_dce_style_is_opened_too() -> None:
    """RRC does not count EC there ([MS-KILE] 3.4.5.4.1)."""
    realm = Realm()
    mine = options(1, flags=ContextFlags.MUTUAL | ContextFlags.DCE_STYLE)
    met = meet(realm.tickets(), realm.keytab, mine=mine)
    sealed = met.contexts[0].seal([(b"attack at dawn", Cover.SEALED)])
    node = look(*met.tokens, sealed.signature + sealed.parts[0], keytab=octets_of(realm.keytab))[-1]
    assert (value(node, "EC"), value(node, "data")) == (16, b"attack at dawn")
