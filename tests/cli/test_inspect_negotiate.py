"""SPNEGO and NEGOEX as trees, with the mechanisms' tokens inside; captures of .NET frame by frame."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from securestream.credentials import Accounts, Credentials
from securestream.provider import SecurityPackage
from securestream.services.nt_hash import nt_hash
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    HINTS,
    KERBEROS,
    NTLM,
    MechTypeList,
    NegState,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    frame,
)
from securestream_providers.negotiate.negoex.messages import (
    CRITICAL,
    NO_KEY,
    AlertMessage,
    Element,
    ExchangeMessage,
    Message,
    MessageType,
    NegoMessage,
    VerifyMessage,
)
from securestream_providers.ntlm import Ntlm
from tests.cli.looking import at, key, look, problems, value
from tests.providers.kerberos.ends import Realm, new_services
from tests.providers.kerberos.ends import package as kerberos
from tests.providers.negotiate.ends import meet, options
from tests.providers.ntlm.ends import ALICE, PASSWORD, store

SCHEME = uuid.UUID("0d53335c-f9ea-4d0d-b2ec-4ae3786ec308")


def tokens_of(*packages: SecurityPackage, realm: Realm) -> list[bytes]:
    """What two ends say that negotiate one of `packages`."""
    assert realm.keytab.octets is not None
    end = Negotiate(*packages, ntlm="always")
    met = meet(
        end,
        end,
        initiating=Credentials(realm.tickets(), ALICE),
        accepting=Credentials(realm.keytab, Accounts(store())),
        mine=options(1),
        theirs=options(2),
        services=new_services(),
    )
    assert not met.errors
    return met.tokens


def test_kerberos_inside_of_spnego_is_opened_by_the_keytab() -> None:
    realm = Realm()
    tokens = tokens_of(kerberos(), Ntlm(), realm=realm)
    nodes = look(*tokens, keys=[key("18", realm.key.contents.reveal())])
    assert not problems(*nodes)
    assert [node.value for node in nodes[0].walk() if node.name == "mechType"][-1] == NTLM
    assert nodes[0].find("EncTicketPart") is not None
    assert value(nodes[1], "supportedMech")
    assert nodes[1].find("EncApRepPart") is not None


def test_ntlm_inside_of_spnego_is_proved_by_the_hash() -> None:
    tokens = tokens_of(Ntlm(), realm=Realm())
    nodes = look(*tokens, keys=[key("nt", nt_hash(PASSWORD))])
    assert not problems(*nodes)
    third = nodes[2]
    assert any(node.note == "fits the three messages" for node in third.walk())
    assert value(third, "mechListMIC", "NTLM signature", "sequence number") == 0
    assert at(nodes[3], "negState").note == "accept-completed"


def test_a_server_that_speaks_first() -> None:
    (node,) = look(frame(NegTokenInit2(MechTypeList((KERBEROS, NTLM)), neg_hints=HINTS)))
    assert node.name == "SPNEGO NegTokenInit2"
    assert "ignore" in value(node, "negHints")
    assert at(node, "mechType").note == "Kerberos"


def test_what_stands_in_responses() -> None:
    (rejected,) = look(NegTokenResp(NegState.REJECT).encode())
    assert at(rejected, "negState").note == "reject"
    (copied,) = look(NegTokenResp(None, None, b"abc", b"abc").encode())
    assert "copy" in at(copied, "mechListMIC").note
    (empty,) = look(NegTokenResp(None, None, b"").encode())
    assert empty.find("empty token") is not None


def test_a_first_message_without_its_frame() -> None:
    (node,) = look(NegTokenInit(MechTypeList((NTLM,))).encode())
    assert node.note.endswith("without the frame of RFC 2743")


def test_spnego_is_read_up_to_where_it_ends() -> None:
    for token in tokens_of(kerberos(), Ntlm(), realm=Realm()):
        for size in range(1, len(token), 5):
            look(token[:size])
        (cut,) = look(token[:-1])
        assert problems(cut)
        assert cut.name.startswith("SPNEGO")
        assert sum(1 for _ in cut.walk()) > 5


# --- NEGOEX ----------------------------------------------------------------------------------------------------------


def message(number: int, kind: MessageType, body: Any) -> bytes:
    return Message(kind, number, bytes(range(16)), body).encode()


def test_every_message_of_negoex() -> None:
    inner = frame(NegTokenInit(MechTypeList((NTLM,))))
    extension = Element(CRITICAL | 7, b"extra")
    token = b"".join(
        (
            message(0, MessageType.INITIATOR_NEGO, NegoMessage(bytes(32), (SCHEME,), (extension,))),
            message(1, MessageType.AP_REQUEST, ExchangeMessage(SCHEME, inner)),
            message(2, MessageType.ALERT, AlertMessage(SCHEME, NO_KEY, 0xC000006D)),
            message(3, MessageType.VERIFY, VerifyMessage(SCHEME, 16, b"checksum")),
        )
    )
    (node,) = look(NegTokenInit(MechTypeList((NTLM,)), mech_token=token).encode())
    negoex = at(node, "NEGOEX")
    assert [child.name for child in negoex.children] == ["INITIATOR_NEGO", "AP_REQUEST", "ALERT", "VERIFY"]
    assert at(negoex, "scheme").note == "PKU2U"
    assert at(negoex, f"extension {CRITICAL | 7:#x}").note.startswith("critical")
    assert at(negoex, "AP_REQUEST").find("SPNEGO NegTokenInit") is not None
    assert value(negoex, "ALERT", "error") == "0xc000006d"
    assert negoex.find("no key yet") is not None
    assert at(negoex, "VERIFY", "checksum type").note == "HMAC_SHA1_96_AES256"
    assert not problems(node)


def test_messages_before_a_malformed_one_are_shown() -> None:
    first = message(0, MessageType.ACCEPTOR_NEGO, NegoMessage(bytes(32), (SCHEME,)))
    second = message(1, MessageType.CHALLENGE, ExchangeMessage(SCHEME, b"x" * 40))
    for size in range(len(first) + 1, len(first + second), 3):
        (node,) = look((first + second)[:size])
        assert [child.name for child in node.children] == ["ACCEPTOR_NEGO", "message 1"]
        assert node.children[1].value == (first + second)[len(first) : size]
        assert problems(node)


def test_windows_itself(shared: Path) -> None:
    vectors = json.loads((shared / "vectors" / "negoex_tokens.json").read_text())["vectors"]
    (node,) = look(bytes.fromhex(vectors[0]["spnego_token"]))
    assert not problems(node)
    assert [child.name for child in at(node, "NEGOEX").children] == ["INITIATOR_NEGO", "INITIATOR_META_DATA"]
    assert value(node, "INITIATOR_META_DATA", "token", "GeneralString") == "WELLKNOWN:PKU2U"


def test_a_windows_exchange_from_its_hints_to_its_last_mic(shared: Path) -> None:
    vector = json.loads((shared / "vectors" / "spnego_tokens.json").read_text())["vectors"][0]
    names = ("token0_server_negTokenInit2", "token1_client", "token2_server", "token3_client", "token4_server")
    nodes = look(*(bytes.fromhex(vector[name]) for name in names), keys=[key("nt", nt_hash(vector["password"]))])
    assert not problems(*nodes)
    assert {node.value for node in nodes[3].walk() if node.secret} == {bytes.fromhex(vector["exported_session_key"])}


# --- .NET on the wire ------------------------------------------------------------------------------------------------

CAPTURES = (
    *("krb-EncryptAndSign", "krb-Sign", "ntlm-EncryptAndSign", "ntlm-Sign", "ntlm-None", "ntlm-bad-password"),
    *("krb-unknown-target", "ntlm-zero-write", "ntlm-cliSign-srvEncryptAndSign"),
)


@pytest.mark.parametrize("name", CAPTURES)
def test_each_direction_of_a_connection_of_dotnet_is_read_to_its_end(name: str, shared: Path) -> None:
    wire = json.loads((shared / "vectors" / "nns_captures" / f"{name}.json").read_text())["wire"]
    for direction in ("c2s", "s2c"):
        stream = b"".join(bytes.fromhex(part["hex"]) for part in wire if part["dir"] == direction)
        nodes = look(stream) if stream else []
        assert all(node.name.startswith("NegotiateStream") for node in nodes), name
        assert not problems(*nodes), name


def test_a_sealed_conversation_of_dotnet_is_opened_by_the_hash(shared: Path) -> None:
    """Behind SPNEGO the stream of each end begins anew after its mechListMIC, and its numbers go on."""
    found = json.loads((shared / "vectors" / "nns_captures" / "ntlm-EncryptAndSign.json").read_text())
    password = next(one.partition("=")[2] for one in found["client_args"] if one.startswith("pass="))
    frames = [bytes.fromhex(one["payload"]) for one in found["frames"] if one["kind"] != "EOF"]
    nodes = look(*frames, keys=[key("nt", nt_hash(password))])
    assert not problems(*nodes)
    data = [node.find("data") for node in nodes[4:]]
    assert all(data)
    assert data[0] is not None
    assert data[1] is not None
    assert data[0].value == data[1].value
