"""``securestream inspect``: what goes in, what comes out, and that nothing makes it fail."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.cli import inspect as command
from securestream.cli.inspect import HIDDEN, SHOWN, as_json, lines
from securestream.errors import ErrorKind, UsageError
from securestream.files import UnsafeFile
from securestream.framing.base import TokenKind
from securestream.framing.nns import NnsFraming
from securestream.inspection import DEEPEST, Inspection, Node, read_keys, unknown
from securestream.registry import Registry
from securestream_providers.negotiate.messages import NTLM, NegTokenResp
from securestream_providers.ntlm.messages import Flag, Negotiate
from tests.certificates import authority
from tests.cli.fake import FakePackage
from tests.cli.looking import at, look, problems, run, run_json, value
from tests.cli.processes import run as run_process

TOKEN = Negotiate(Flag.UNICODE | Flag.SIGN, b"CORP", b"PC").pack()
OTHER = Negotiate(Flag.OEM).pack()


class Stdin:
    """A standard input of octets."""

    def __init__(self, octets: bytes) -> None:
        self.buffer = io.BytesIO(octets)


def given_stdin(monkeypatch: pytest.MonkeyPatch, octets: bytes) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(octets))


# --- what goes in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("--hex", TOKEN.hex()),
        ("--hex", "0x" + TOKEN.hex(" ").upper()),
        ("--hex", TOKEN.hex(":")),
        ("--base64", base64.b64encode(TOKEN).decode()),
        ("--base64", "Authorization: Negotiate " + base64.b64encode(TOKEN).decode()),
        ("--base64", base64.urlsafe_b64encode(TOKEN).decode().rstrip("=")),
    ],
    ids=["hex", "0x", "colons", "base64", "header", "urlsafe"],
)
def test_a_token_in_an_argument(arguments: tuple[str, str]) -> None:
    status, shown = run(*arguments)
    assert status == 0
    assert shown.startswith("NTLM NEGOTIATE")
    assert "domain: CORP" in shown


@pytest.mark.parametrize(
    "octets",
    [
        TOKEN,
        TOKEN.hex().encode(),
        (TOKEN.hex(" ")[:60] + "\n" + TOKEN.hex(" ")[60:] + "\n").encode(),
        base64.encodebytes(TOKEN),
        b"WWW-Authenticate: NTLM " + base64.b64encode(TOKEN) + b"\r\n",
    ],
    ids=["raw", "hex", "hex lines", "base64 lines", "header"],
)
def test_the_form_of_what_is_read_is_known_by_itself(octets: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    given_stdin(monkeypatch, octets)
    assert run()[1].startswith("NTLM NEGOTIATE")


@pytest.mark.parametrize("octets", [b"hello", b"hello, world", b"abc"])
def test_text_that_is_no_token_is_shown_as_it_is(octets: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    given_stdin(monkeypatch, octets)
    assert octets.hex() in run()[1]


def test_a_file_with_several_tokens_an_empty_line_between_them(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN.hex()}\n\n{OTHER.hex()}\n")
    assert [node["name"] for node in run_json("--file", file)] == ["NTLM NEGOTIATE"] * 2


def test_nothing_to_look_at_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    given_stdin(monkeypatch, b" \n")
    with pytest.raises(UsageError, match="nothing to inspect"):
        run()


def test_a_token_and_a_file_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of them"):
        run("--hex", "00", "--file", tmp_path / "x")


@pytest.mark.parametrize(("option", "text"), [("--hex", "4e5"), ("--hex", "xyz"), ("--base64", "a!b")])
def test_text_of_another_form_is_refused_in_a_sentence(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=r"no hexadecimal|no base64"):
        run(option, text)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LARGEST", 10)
    given_stdin(monkeypatch, bytes(11))
    with pytest.raises(UsageError, match="more than 10 octets"):
        run()


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_file_says_what_its_keys_are() -> None:
    keys = read_keys("# keys\nnt 00112233445566778899aabbccddeeff\n\n18: " + "ab" * 32 + " # comment\n" + "cd" * 16)
    assert [(key.kind, len(key.octets.reveal())) for key in keys] == [("nt", 16), ("18", 32), ("", 16)]


@pytest.mark.parametrize("line", ["nt 00112", "password hunter2", "one two three", "nt " + "00" * 65])
def test_a_line_that_is_no_key_is_told_by_its_number_alone(line: str) -> None:
    with pytest.raises(UsageError, match="line 2") as caught:
        read_keys(f"# first\n{line}")
    assert line.split()[-1] not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no modes of files")
@pytest.mark.parametrize("option", ["--key-file", "--keytab"])
def test_a_key_file_that_others_can_read_is_refused(option: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("nt " + "00" * 16)
    file.chmod(0o644)
    with pytest.raises(UnsafeFile):
        run("--hex", TOKEN.hex(), option, file)


# --- what comes out --------------------------------------------------------------------------------------------------

TREE = Node(
    "root",
    None,
    "a note",
    (Node("octets", bytes(SHOWN + 1)), Node("key", b"hunter2", secret=True), Node("bad", 7, "why", problem=True)),
)


def test_lines_for_people() -> None:
    assert list(lines(TREE)) == [
        "root  (a note)",
        f"  octets: {'00' * SHOWN}... of {SHOWN + 1} octets",
        f"  key: <{HIDDEN}>",
        "  bad: 7  (why)  <!>",
    ]
    assert list(lines(TREE, whole=True))[1] == f"  octets: {'00' * (SHOWN + 1)}"


def test_the_same_tree_for_programs() -> None:
    assert as_json(TREE) == {
        "name": "root",
        "note": "a note",
        "children": [
            {"name": "octets", "value": "00" * (SHOWN + 1)},
            {"name": "key", "secret": True},
            {"name": "bad", "value": 7, "note": "why", "problem": True},
        ],
    }


def test_secrets_are_shown_only_to_who_asks() -> None:
    assert b"hunter2".hex() not in "\n".join(lines(TREE)) + json.dumps(as_json(TREE)) + repr(TREE)
    assert b"hunter2".hex() in "\n".join(lines(TREE, secrets=True))
    assert as_json(TREE, secrets=True)["children"][1]["value"] == b"hunter2".hex()


def test_a_name_from_a_peer_draws_nothing_on_the_terminal() -> None:
    shown = "\n".join(lines(Node("user", "\x1b[2J\nroot: 1", "\u202e")))
    assert shown == r"user: \x1b[2J\nroot: 1  (\u202e)"


def test_the_status_says_whether_something_could_not_be_read() -> None:
    assert run("--hex", TOKEN[:14].hex())[0] == 1
    assert run("--hex", TOKEN.hex())[0] == 0


def test_as_a_process_it_ends_without_a_traceback() -> None:
    done = run_process("inspect", stdin=TOKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"NTLM NEGOTIATE")
    done = run_process("inspect", "--hex", "zz")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1


# --- what is around tokens -------------------------------------------------------------------------------------------


def test_frames_of_negotiate_stream_and_the_data_behind_them() -> None:
    framing = NnsFraming()
    first = framing.token(TokenKind.IN_PROGRESS, TOKEN)
    last = framing.token(TokenKind.DONE, None)
    data = bytes.fromhex("01000000") + bytes(12) + b"sealed"
    (frame,) = look(first)
    assert frame.name == "NegotiateStream handshake frame, in progress"
    assert value(frame, "NTLM NEGOTIATE", "domain") == "CORP"
    nodes = look(first + last + framing.sealed_header(len(data)) + data)
    assert [node.name.partition(",")[0] for node in nodes] == [
        "NegotiateStream handshake frame",
        "NegotiateStream handshake frame",
        "NegotiateStream data frame",
    ]
    assert value(nodes[2], "message protected by NTLM", "body") == b"sealed"


def test_data_frames_of_a_side_that_never_says_done() -> None:
    framing = NnsFraming()
    stream = framing.token(TokenKind.IN_PROGRESS, TOKEN) + framing.sealed_header(3) + b"abc"
    assert [node.name for node in look(stream)][1:] == ["NegotiateStream data frame"]


def test_an_error_frame_says_its_code() -> None:
    (frame,) = look(NnsFraming().error(ErrorKind.LOGON_DENIED))
    assert at(frame, "code").note.startswith("LOGON_DENIED")


def test_a_frame_that_is_cut_short_is_told_by_its_offset() -> None:
    whole = NnsFraming().token(TokenKind.IN_PROGRESS, TOKEN)
    nodes = look(whole + whole[:-1])
    assert nodes[0].name.startswith("NegotiateStream")
    assert nodes[1].name == f"frame at offset {len(whole)}"
    assert problems(nodes[1])


def test_tls_records() -> None:
    hello = bytes.fromhex("160301000a") + b"\x01\0\0\x06" + bytes(6)
    nodes = look(hello + b"\x15\x03\x03\0\x02\x02\x28" + b"\x17\x03\x03\0\x09ab")
    assert [node.name for node in nodes] == ["TLS handshake ClientHello", "TLS alert fatal 40", "TLS record"]
    assert problems(*nodes)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_live_handshake_of_tls(version: ssl.TLSVersion, tmp_path: Path) -> None:
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = version
    client.set_alpn_protocols(["h2"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority("inspect").leaf(["files.example"]).write(tmp_path))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="files.example"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    flights: list[bytes] = []
    for number in range(6):
        with contextlib.suppress(ssl.SSLWantReadError):
            ends[number % 2].do_handshake()
        bio = (to_server, to_client)[number % 2]
        flight = bio.read()
        flights.append(flight)
        bio.write(flight)
    nodes = [node for flight in flights if flight for node in look(flight)]
    assert not problems(*nodes)
    assert value(nodes[0], "server name") == "files.example"
    assert value(nodes[0], "protocol") == "h2"
    assert len(nodes) > 4


# --- what nobody knows -----------------------------------------------------------------------------------------------


def test_unknown_asn1_is_shown_with_names_and_values() -> None:
    octets = bytes.fromhex(
        "302e06062b0601050502a0030201050c04c3a46c61180f32303236303330313132303030305a0101ff0303048680"
    )
    octets += bytes.fromhex("0500")
    octets = b"\x30" + bytes([len(octets) - 2]) + octets[2:]
    (node,) = look(octets)
    assert value(node, "OBJECT IDENTIFIER") == "1.3.6.1.5.5.2"
    assert at(node, "OBJECT IDENTIFIER").note == "SPNEGO"
    assert value(node, "[0]", "INTEGER") == 5
    assert value(node, "UTF8String") == "äla"
    assert str(value(node, "GeneralizedTime")) == "2026-03-01 12:00:00+00:00"
    assert value(node, "BOOLEAN") is True
    assert not problems(node)


def test_asn1_inside_of_an_octet_string_is_opened() -> None:
    node = unknown(bytes.fromhex("3009040730050201070500"))
    assert value(node, "OCTET STRING", "SEQUENCE", "INTEGER") == 7


@pytest.mark.parametrize("cut", range(1, 18))
def test_asn1_that_is_cut_short_shows_what_is_there_and_where_it_ends(cut: int) -> None:
    octets = bytes.fromhex("3010020101a0060c04746578740403ffffff")
    node = unknown(octets[: len(octets) - cut])
    whole = unknown(octets)
    assert not problems(whole)
    if node.find("SEQUENCE") is not None:
        assert problems(node)
    if cut <= 5:
        assert value(node, "UTF8String") == "text"
    if cut < len(octets) - 4:
        assert f"reading ends at offset {len(octets) - cut}: " in node.note


def test_indefinite_lengths() -> None:
    node = unknown(bytes.fromhex("3080020107a080020108" + "0000" * 2))
    assert value(node, "[0]", "INTEGER") == 8
    assert not problems(node)
    assert problems(unknown(bytes.fromhex("3080020107")))


def test_no_nest_is_followed_to_its_end() -> None:
    octets = b""
    for _ in range(3000):
        size = len(octets)
        octets = b"\x30" + (bytes([size]) if size < 128 else b"\x83" + size.to_bytes(3, "big")) + octets
    nodes = list(unknown(octets).walk())
    assert 30 < len(nodes) < 60


def test_many_elements_are_not_all_shown() -> None:
    octets = b"\x05\x00" * 20000
    nodes = list(unknown(b"\x30\x83" + len(octets).to_bytes(3, "big") + octets).walk())
    assert len(nodes) < 6000


def test_a_token_of_a_mechanism_that_nobody_has_is_named() -> None:
    token = bytes.fromhex("600d06062b060105020505010000ff")
    (node,) = look(token)
    assert at(node, "mechanism").note == "IAKERB"
    assert value(node, "inner token") == bytes.fromhex("05010000ff")
    assert problems(*look(token[:-1]))


def test_octets_that_are_nothing_are_shown_as_they_are() -> None:
    (node,) = look(b"\xff\xfe")
    assert (node.value, node.note) == (b"\xff\xfe", "unknown, 2 octets")


def test_tokens_in_tokens_end_somewhere() -> None:
    token = b"\xff"
    for _ in range(DEEPEST + 5):
        token = NegTokenResp(None, NTLM, token, None).encode()
    (node,) = look(token)
    assert any("not looked into" in inner.note for inner in node.walk())


def test_a_package_that_fails_is_no_obstacle() -> None:
    class Broken(FakePackage):
        def inspect_token(self, token: bytes, inspection: Inspection) -> Node | None:
            raise ZeroDivisionError("hunter2")

    package = Broken()
    node = Inspection([package]).token(b"abc")
    assert node.problem
    assert "ZeroDivisionError" in node.note
    assert "hunter2" not in node.note
    assert command._inspectors(Registry.of(package, FakePackage(stream=True))) in ([package], [])  # pyright: ignore[reportPrivateUsage]  its choice is what is tested


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x60", b"\x6e", b"\x30", b"\xa1", b"NTLMSSP\0\3\0\0\0", b"\x05\x04"]),
)
def test_any_octets_are_shown(octets: bytes, start: bytes) -> None:
    for node in look(start + octets):
        json.dumps(as_json(node, secrets=True))
