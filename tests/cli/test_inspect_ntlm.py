"""NTLM as a tree: names for everything, responses and MICs proved by the keys that are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from securestream.credentials import Accounts, Anonymous
from securestream.options import Protection
from securestream.services.nt_hash import nt_hash
from securestream_providers.ntlm import Ntlm
from securestream_providers.ntlm.messages import MIC_OFFSET, Authenticate, Challenge, Flag
from tests import providers
from tests.cli.looking import at, key, look, problems, value
from tests.providers.ntlm.ends import BINDINGS, PASSWORD, handshake, options, store

OWN = Path(providers.__file__).with_name("ntlm") / "vectors.json"
CAPTURED: dict[str, Any] = next(
    vector for vector in json.loads(OWN.read_text())["vectors"] if vector["id"] == "gss-ntlmssp-live-raw"
)
TOKENS = [bytes.fromhex(CAPTURED[name]) for name in ("negotiate", "challenge", "authenticate")]
HASH = nt_hash(CAPTURED["password"])


def test_a_logon_of_gss_ntlmssp_without_a_key() -> None:
    first, second, third = look(*TOKENS)
    assert "KEY_EXCH" in at(first, "flags").note
    assert value(second, "server challenge").hex() == CAPTURED["challenge"][48:64]
    assert (value(third, "user"), value(third, "domain")) == (CAPTURED["user"], CAPTURED["domain"])
    assert value(third, "flags") == "0x" + CAPTURED["flags"]
    assert at(third, "NT response").note.startswith("NTLMv2")
    assert third.find("session key") is None
    assert not problems(first, second, third)


def test_an_nt_hash_proves_it_and_gives_the_session_key() -> None:
    third = look(*TOKENS, keys=[key("nt", HASH)])[2]
    found = [node for node in third.walk() if node.name == "session key"]
    assert [node.value for node in found] == [bytes.fromhex(CAPTURED["exported_session_key"])]
    assert found[0].secret
    assert any(node.name == "proof" and node.note == "made with the test's key" for node in third.walk())


def test_another_hash_is_said_to_be_another() -> None:
    third = look(*TOKENS, keys=[key("nt", bytes(16))])[2]
    assert problems(third) == ["made with none of the 1 NT hashes that were given"]


def test_without_the_challenge_a_proof_is_not_judged() -> None:
    (third,) = look(TOKENS[2], keys=[key("nt", HASH)])
    assert not problems(third)
    assert any("give the CHALLENGE" in node.note for node in third.walk())


def test_our_own_logon_its_names_bindings_and_mic() -> None:
    met = handshake(Ntlm(), Ntlm(), client_options=options(1, bindings=BINDINGS))
    keys = [key("nt", nt_hash(PASSWORD))]
    third = look(*met.tokens, keys=keys)[2]
    assert value(third, "user") == "alice"
    assert value(third, "TARGET_NAME") == "host/files.example"
    assert "MIC" in at(third, "FLAGS").note
    assert any(value(third, "CHANNEL_BINDINGS"))
    assert [node.note for node in third.walk() if node.name == "MIC"][1:] == ["fits the three messages"]
    altered = third_altered(met.tokens)
    assert "does not fit the three messages" in problems(look(*altered, keys=keys)[2])


def third_altered(tokens: list[bytes]) -> list[bytes]:
    """The tokens, one octet of the MIC another."""
    last = bytearray(tokens[2])
    last[MIC_OFFSET] ^= 1
    return [tokens[0], tokens[1], bytes(last)]


def test_a_session_key_checks_the_mic_too() -> None:
    met = handshake(Ntlm(), Ntlm())
    session_key = next(
        node.value for node in look(*met.tokens, keys=[key("nt", nt_hash(PASSWORD))])[2].walk() if node.secret
    )
    assert isinstance(session_key, bytes)
    third = look(*met.tokens, keys=[key("session", session_key)])[2]
    assert any(node.note == "fits the three messages with the test's key" for node in third.walk())


def test_old_forms() -> None:
    met = handshake(
        Ntlm(level=1, unicode=False, oem="cp850"), Ntlm(level=1, mic="optional", unicode=False, oem="cp850")
    )
    third = look(*met.tokens)[2]
    assert at(third, "NT response").note == "NTLMv1"
    assert "OEM" in at(third, "user").note
    bare = look(Authenticate(b"", b"", b"", b"", b"", b"", Flag.OEM, None).pack())[0]
    assert at(bare, "user").note.endswith("anonymous")
    assert not problems(third, bare)


def test_a_message_is_read_up_to_where_it_ends() -> None:
    """At each length: no exception, and what is missing is said unless nothing is."""
    for token in TOKENS:
        whole = sum(1 for _ in look(token)[0].walk())
        for size in range(8, len(token)):
            (node,) = look(token[:size])
            assert sum(1 for _ in node.walk()) <= whole + 1  # that the AV pairs have no end
            if token is TOKENS[2]:
                assert problems(node), size


def test_a_payload_that_lies_outside_is_said() -> None:
    token = bytearray(TOKENS[1])
    token[16:20] = (60000).to_bytes(4, "little")
    (node,) = look(bytes(token))
    assert "target name should be" in problems(node)[0]


@pytest.mark.parametrize(
    ("info", "why"),
    [
        (b"\1\0\2\0a\0", "they have no end"),
        (b"\1\0\x09\0a\0", "it should be 9 octets"),
        (b"\1\0\0\0" * 100, "more than 64"),
    ],
)
def test_av_pairs_that_are_wrong_are_shown_as_far_as_they_go(info: bytes, why: str) -> None:
    (node,) = look(Challenge(b"", Flag.UNICODE | Flag.TARGET_INFO, bytes(8), bytes(8), info).pack())
    assert node.find("NB_COMPUTER_NAME") is not None
    assert any(why in note for note in problems(node))


def test_messages_that_ntlm_protects() -> None:
    (mic,) = look(bytes.fromhex(CAPTURED["client_mic"]))
    assert (mic.name, value(mic, "sequence number")) == ("NTLM signature", 1)
    (sealed,) = look(bytes.fromhex(CAPTURED["client_wrap"]))
    assert value(sealed, "sequence number") == 0


@pytest.mark.parametrize("kind", ["nt", "session"])
def test_they_are_opened_by_the_hash_or_the_session_key(kind: str) -> None:
    """Of gss-ntlmssp, both ends; a message between them that is not shown is taken for a signature."""
    given = HASH if kind == "nt" else bytes.fromhex(CAPTURED["exported_session_key"])
    messages = [bytes.fromhex(CAPTURED[name]) for name in ("client_wrap", "server_mic", "server_wrap")]
    nodes = look(*TOKENS, *messages, keys=[key(kind, given)])
    assert value(nodes[3], "data") == value(nodes[5], "data") == CAPTURED["message_text"].encode()
    assert "from the initiator" in at(nodes[3], "data").note
    assert "from the acceptor" in at(nodes[5], "data").note
    assert at(nodes[3], "data").secret


@pytest.mark.parametrize("protection", [Protection.ENCRYPT_AND_SIGN, Protection.SIGN])
def test_a_conversation_is_opened_message_by_message(protection: Protection) -> None:
    met = handshake(
        Ntlm(),
        Ntlm(),
        client_options=options(1, protection=protection),
        server_options=options(2, protection=protection),
    )
    said = [b"one", b"two" * 1000, b"three", b"four"]
    encrypt = protection is Protection.ENCRYPT_AND_SIGN
    tokens = [
        (met.initiator if number % 2 else met.acceptor).wrap(data, encrypt=encrypt) for number, data in enumerate(said)
    ]
    nodes = look(*met.tokens, *tokens, keys=[key("nt", nt_hash(PASSWORD))])
    assert [value(node, "data") for node in nodes[3:]] == said


def test_an_unknown_type_is_said() -> None:
    assert "its type is 9" in problems(*look(b"NTLMSSP\0\x09\0\0\0"))[0]
    assert problems(*look(b"NTLMSSP\0"))


def test_every_published_message_is_shown(shared: Path) -> None:
    for vector in json.loads((shared / "vectors" / "ntlm.json").read_text())["vectors"]:
        for text in vector.values():
            if isinstance(text, str) and text.startswith("4e544c4d53535000"):
                (node,) = look(bytes.fromhex(text))
                # the CHALLENGE of one of them describes a name of 33327 octets
                assert not problems(node) or vector["id"] == "ntlmauth-ntlm_context"


def test_a_logon_of_nobody() -> None:
    client, server = Ntlm(), Ntlm(allow_anonymous=True)
    met = handshake(client, server, credential=Anonymous(), accounts=Accounts(store()))
    assert at(look(*met.tokens)[2], "user").note.endswith("anonymous")
