"""``securestream inspect`` of SASL's tokens, as they stand in a protocol of lines and in NegotiateStream's frames."""

from __future__ import annotations

import base64
from pathlib import Path

from securestream.cli.inspect import HIDDEN
from tests.cli.looking import run, run_json
from tests.core.sasl.test_scram import CLIENT_FINAL, CLIENT_FIRST, SERVER_FIRST


def test_an_exchange_of_scram() -> None:
    text = "\n\n".join(base64.b64encode(token).decode() for token in (CLIENT_FIRST, SERVER_FIRST, CLIENT_FINAL))
    status, shown = run("--base64", text)
    assert status == 0
    for line in ("username: user", "iterations: 4096", f"proof: <{HIDDEN}>"):
        assert line in shown


def test_a_message_of_scram_as_it_is() -> None:
    assert "SCRAM client-first-message" in run("--hex", CLIENT_FIRST.hex())[1]


# --- DIGEST-MD5 between `connect` and `serve --package digest`: what a relay recorded

CLIENT = (
    b"\x16\x01\x00\x00\x00",
    (
        b'\x16\x01\x00\x00\xefcharset=utf-8,username="alice",realm="files.example",nonce="K+G9Auq/SiiQF+XBQb6h4tFa",'
        b'nc=00000001,cnonce="44cHKN7qOsMvhjt/1Mqmr5tJ",digest-uri="host/127.0.0.1",'
        b"response=5f4578e85a151695ac571c28ee13cfd9,qop=auth-conf,maxbuf=65536,cipher=rc4"
    ),
    bytes.fromhex("15000000 750cf5cdd5a37ee145f5e9ca5c72700001 00000000"),
)
SERVER = (
    (
        b'\x16\x01\x00\x00\x86realm="files.example",nonce="K+G9Auq/SiiQF+XBQb6h4tFa",qop="auth-conf",cipher="rc4,3des",'
        b"maxbuf=65536,charset=utf-8,algorithm=md5-sess"
    ),
    b"\x14\x01\x00\x00(rspauth=23524ccc93b7e0d17a074743de77679c",
    bytes.fromhex("15000000 c3727ca3a380753547b2aa45fc27cd0001 00000000"),
)
PROOFS = ("5f4578e85a151695ac571c28ee13cfd9", "23524ccc93b7e0d17a074743de77679c")


def test_each_direction_of_a_stream_with_digest_md5(tmp_path: Path) -> None:
    file = tmp_path / "octets"
    for frames, names in (
        (CLIENT, [None, "DIGEST-MD5 response", "token"]),
        (SERVER, ["DIGEST-MD5 challenge", "DIGEST-MD5 proof of the server", "token"]),
    ):
        file.write_bytes(b"".join(frames))
        found = run_json("--file", file)
        assert [frame.get("children", [{"name": None}])[0]["name"] for frame in found] == names
        assert found[-1]["name"] == "NegotiateStream data frame"
        assert not any(proof in str(found) for proof in PROOFS)


def test_a_hexdump_of_the_whole_conversation(tmp_path: Path) -> None:
    file = tmp_path / "dump"
    conversation = (CLIENT[0], SERVER[0], CLIENT[1], SERVER[1])
    file.write_text("\n\n".join(frame.hex(" ", 1) for frame in conversation), encoding="ascii")
    status, shown = run("--file", file)
    assert status == 0
    for line in ("qop: auth-conf", "cipher: rc4,3des", "digest-uri: host/127.0.0.1", "weak and historic"):
        assert line in shown
    assert shown.count("NegotiateStream handshake frame") == 4
    assert shown.count(HIDDEN) == 2
    assert all(proof in run("--file", file, "--show-secrets")[1] for proof in PROOFS)
