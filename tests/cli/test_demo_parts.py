"""What the demonstration finds and shows: leaks, units of the wire, the relay."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.cli.demo.relay import Relay
from securestream.cli.demo.show import hexdump, leaks
from securestream.cli.demo.wire import (
    CLIENT,
    OTHER,
    SEALED,
    SERVER,
    TOKEN,
    Flip,
    NnsWire,
    TlsWire,
    Unit,
    find_data,
    find_tokens,
)
from tests.cli.test_tokens import record

SECRET = bytes(range(100, 140))


@given(st.binary(max_size=60), st.integers(0, 32), st.binary(max_size=60))
def test_any_eight_octets_of_a_secret_are_found(before: bytes, start: int, after: bytes) -> None:
    assert leaks(before + SECRET[start : start + 8] + after, {"it": SECRET}) == ["it"]


def test_seven_octets_are_chance_and_a_short_secret_counts_whole() -> None:
    assert leaks(b"xx" + SECRET[:7] + b"xx", {"it": SECRET}) == []
    assert leaks(b"xxabcxx", {"short": b"abc", "empty": b""}) == ["short"]


def test_the_dump_shows_the_wire_beside_the_plaintext() -> None:
    assert list(hexdump(b"\x00\x01\xffABC" + bytes(12), b"secret")) == [
        "0000  00 01 ff 41 42 43 00 00 00 00 00 00 00 00 00 00  ...ABC.......... | secret",
        "0010  00 00                                            ..               | ",
    ]


def nns(identifier: int, token: bytes) -> bytes:
    return bytes((identifier, 1, 0)) + len(token).to_bytes(2, "big") + token


def data(sealed: bytes) -> bytes:
    return len(sealed).to_bytes(4, "little") + sealed


# A data frame of 0x114 octets begins as a done frame would: only the phase tells them apart.
CONVERSATION = [
    (CLIENT, nns(0x16, b"negotiate"), TOKEN),
    (SERVER, nns(0x16, b"challenge"), TOKEN),
    (CLIENT, nns(0x14, b"authenticate"), TOKEN),
    (SERVER, nns(0x14, b""), OTHER),
    (CLIENT, data(b"x" * 0x114), SEALED),
    (SERVER, data(b"y"), SEALED),
]


@given(st.integers(1, 400))
def test_frames_are_told_apart_however_they_arrive(piece: int) -> None:
    wire = NnsWire()
    units: list[Unit] = []
    for sender, octets, _ in CONVERSATION:
        for start in range(0, len(octets), piece):
            units += wire.feed(sender, octets[start : start + piece])
    assert [(unit.sender, unit.octets, unit.kind) for unit in units] == CONVERSATION
    assert find_tokens(units, CLIENT) == [0, 1]
    assert find_data(units, CLIENT, 0x114 - 16) == 2
    with pytest.raises(LookupError):
        find_data(units, SERVER, 100)


def test_tls_records_after_the_change_of_cipher_are_sealed() -> None:
    wire = TlsWire()
    stream = record(22, b"\x01\0\0\0") + record(20, b"\1") + record(22, bytes(40)) + record(23, b"data") + b"\x17"
    assert [unit.kind for unit in wire.feed(CLIENT, stream)] == [TOKEN, OTHER, SEALED, SEALED]
    assert wire.rest(CLIENT) == b"\x17"


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_the_relay_alters_one_octet_of_one_payload(fraction: float, bit: int) -> None:
    relay = Relay(NnsWire(), Flip(CLIENT, 1, fraction, bit))
    passed: dict[str, bytes] = {CLIENT: b"", SERVER: b""}
    for sender, octets, _ in CONVERSATION:
        passed[sender] += relay.pass_on(sender, octets)
    sent = b"".join(octets for sender, octets, _ in CONVERSATION if sender == CLIENT)
    differing = [at for at in range(len(sent)) if sent[at] != passed[CLIENT][at]]
    assert len(sent) == len(passed[CLIENT])
    assert len(differing) == 1
    start = len(CONVERSATION[0][1]) + 5
    assert start <= differing[0] < start + len(b"authenticate")
    assert (sent[differing[0]] ^ passed[CLIENT][differing[0]]) == 1 << bit
    assert relay.altered


def test_the_relay_process_records_what_passed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = ["-m", "securestream.cli.demo.relay", str(listener.getsockname()[1]), "nns"]
        process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            process.stdin.write(b'{"flip": null}\n')
            process.stdin.flush()

            def serve() -> None:
                end, _ = listener.accept()
                with end:
                    while received := end.recv(100):
                        end.sendall(received)

            server = threading.Thread(target=serve)
            server.start()
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(nns(0x16, b"token"))
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100) == nns(0x16, b"token")
                assert client.recv(100) == b""
            server.join(10)
            result = json.loads(process.stdout.readline())
            process.stdin.close()
    units = [Unit.from_json(unit) for unit in result["units"]]
    assert [(unit.sender, unit.payload) for unit in units] == [(CLIENT, b"token"), (SERVER, b"token")]
    assert result["altered"] is False
