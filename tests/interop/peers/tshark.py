"""tshark as a second opinion: what Wireshark's dissectors make of the octets that we emit."""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

NAME = "tshark"
SEVERITY_WARNING: Final = 0x600000
"""Wireshark's PI_WARN; errors are above, remarks below."""

_RAW_IP: Final = 101
"""LINKTYPE_RAW: packets begin with their IPv4 header."""
_CLIENT, _SERVER = bytes((127, 0, 0, 2)), bytes((127, 0, 0, 1))
_SEGMENT: Final = 65000
_TCP, _UDP = 6, 17
_ACK_PUSH, _SYN, _SYN_ACK = 0x18, 0x02, 0x12
_CARRIERS: Final = frozenset(("geninfo", "frame", "raw", "ip", "tcp", "udp"))


@functools.cache
def version() -> str | None:
    """The version of tshark, or `None` where it is missing."""
    if shutil.which("tshark") is None:
        return None
    said = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=False).stdout
    return said.split("\n", 1)[0].split()[2].rstrip(".") if said.startswith("TShark") else None


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else "apt-get install tshark"


class Capture:
    """A capture file in the making (pcap, one packet for each message): what was said, as if on a network."""

    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self._client_port = 40000
        self.labels: list[str] = []
        """By packet: what it belongs to."""

    def datagram(self, label: str, port: int, messages: Iterable[tuple[bool, bytes]]) -> None:
        """Add datagrams between a client and a server's `port`; with each whether it goes to the server."""
        self._client_port += 1
        for to_server, octets in messages:
            ports = (self._client_port, port) if to_server else (port, self._client_port)
            header = struct.pack(">HHHH", *ports, 8 + len(octets), 0)
            self._add(label, to_server, _UDP, header + octets)

    def stream(self, label: str, port: int, messages: Iterable[tuple[bool, bytes]]) -> None:
        """Add a connection to a server's `port`, and what was sent through it."""
        self._client_port += 1
        client_next, server_next = 1, 1
        self._segment(label, True, port, 0, 0, _SYN, b"")
        self._segment(label, False, port, 0, 1, _SYN_ACK, b"")
        for to_server, octets in messages:
            for start in range(0, len(octets), _SEGMENT):
                piece = octets[start : start + _SEGMENT]
                own, other = (client_next, server_next) if to_server else (server_next, client_next)
                self._segment(label, to_server, port, own, other, _ACK_PUSH, piece)
                if to_server:
                    client_next += len(piece)
                else:
                    server_next += len(piece)

    def _segment(
        self, label: str, to_server: bool, port: int, number: int, acknowledged: int, flags: int, octets: bytes
    ) -> None:
        ports = (self._client_port, port) if to_server else (port, self._client_port)
        header = struct.pack(">HHIIBBHHH", *ports, number, acknowledged, 5 << 4, flags, 65535, 0, 0)
        self._add(label, to_server, _TCP, header + octets)

    def _add(self, label: str, to_server: bool, protocol: int, octets: bytes) -> None:
        source, destination = (_CLIENT, _SERVER) if to_server else (_SERVER, _CLIENT)
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(octets), len(self._packets) & 0xFFFF, 0, 64, protocol, 0)
        self._packets.append(header + source + destination + octets)
        self.labels.append(label)

    def write(self, file: Path) -> None:
        """Write the file."""
        parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, _RAW_IP)]
        for index, packet in enumerate(self._packets):
            parts.append(struct.pack("<IIII", index, 0, len(packet), len(packet)) + packet)
        file.write_bytes(b"".join(parts))


@dataclass
class Dissected:
    """What the dissectors make of one packet.

    Args:
        label: what it belongs to.
        protocols: the dissectors that took part, the outermost first.
        complaints: their warnings and errors, "malformed" among them.
        remarks: what they note besides.
        fields: by name: what the fields show.
    """

    label: str
    protocols: tuple[str, ...]
    complaints: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])
    fields: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in it but what carries it."""
        return not set(self.protocols) - _CARRIERS


def dissect(
    capture: Capture, folder: Path, *, decode_as: Iterable[str] = (), keytab: Path | None = None, **preferences: str
) -> list[Dissected]:
    """Run tshark once over a capture.

    Args:
        capture: the packets.
        folder: for the file, and for its configuration, which is nobody's.
        decode_as: such as ``tcp.port==4000,ms-nns``.
        keytab: whose keys decrypt Kerberos.
        preferences: of its dissectors, with ``__`` for the dot.
    """
    file = folder / "capture.pcap"
    capture.write(file)
    command = ["tshark", "-n", "-r", str(file), "-T", "pdml"]
    for choice in decode_as:
        command += ["-d", choice]
    for name, value in preferences.items():
        command += ["-o", f"{name.replace('__', '.')}:{value}"]
    if keytab is not None:
        command += ["-K", str(keytab)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f"tshark failed: {done.stderr.decode(errors='replace')}")
    packets = ElementTree.fromstring(done.stdout).iter("packet")
    return [_dissected(packet, label) for packet, label in zip(packets, capture.labels, strict=True)]


def _dissected(packet: ElementTree.Element, label: str) -> Dissected:
    found = Dissected(label, tuple(proto.get("name", "") for proto in packet.iter("proto")))
    for element in packet.iter():
        name = element.get("name", "")
        if name == "_ws.malformed":
            found.complaints.append(f"malformed: {element.get('showname', '')}")
        elif name == "_ws.expert":
            severity, message = _expert(element)
            (found.complaints if severity >= SEVERITY_WARNING else found.remarks).append(message)
        elif name:
            found.fields.setdefault(name, []).append(element.get("show", ""))
    return found


def _expert(element: ElementTree.Element) -> tuple[int, str]:
    told = {one.get("name", ""): one.get("show", "") for one in element}
    return int(told.get("_ws.expert.severity", "0")), told.get("_ws.expert.message", "")
