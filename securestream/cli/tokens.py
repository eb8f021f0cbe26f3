"""A handshake token in one readable line, without a secret.

What a token says is its mechanism's business: a package that can tell offers a method ``describe_token(token) -> str``.
TLS records are the core's own, so they are read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from securestream.extensions import TokenDescriber
from securestream.provider import Capability, SecurityPackage

HEADER = 5
LONGEST_RECORD = 16384 + 2048  # RFC 5246 6.2.3; TLS 1.3 allows less

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
_CONTENT = {
    CHANGE_CIPHER_SPEC: "change_cipher_spec",
    ALERT: "alert",
    HANDSHAKE: "handshake",
    APPLICATION_DATA: "sealed",
}
_HANDSHAKE = {  # RFC 8446 4, RFC 5246 7.4
    0: "HelloRequest",
    1: "ClientHello",
    2: "ServerHello",
    4: "NewSessionTicket",
    8: "EncryptedExtensions",
    11: "Certificate",
    12: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    16: "ClientKeyExchange",
    20: "Finished",
    22: "CertificateStatus",
    24: "KeyUpdate",
}
_ALERT_LEVEL = {1: "warning", 2: "fatal"}


@dataclass(frozen=True)
class Record:
    """One TLS record as it stands on the wire.

    Args:
        content: the outer content type.
        octets: the record with its header.
    """

    content: int
    octets: bytes

    @property
    def payload(self) -> bytes:
        """What stands after the header."""
        return self.octets[HEADER:]


def split_records(stream: bytes) -> Iterator[Record]:
    """The complete TLS records at the start of `stream`; ends where they end."""
    at = 0
    while len(stream) - at >= HEADER:
        end = at + HEADER + int.from_bytes(stream[at + 3 : at + 5], "big")
        if stream[at] not in _CONTENT or end - at > HEADER + LONGEST_RECORD or end > len(stream):
            return
        yield Record(stream[at], stream[at:end])
        at = end


def describe_record(record: Record) -> str:
    """One TLS record: its type and, where they are in clear, the handshake messages in it."""
    content = _CONTENT.get(record.content, f"type {record.content}")
    detail = ""
    if record.content == HANDSHAKE:
        detail = " " + " ".join(_messages(record.payload))
    elif record.content == ALERT and len(record.payload) == 2:
        level, code = record.payload
        detail = f" {_ALERT_LEVEL.get(level, level)} {code}"
    return f"TLS {content}{detail} ({len(record.payload)} octets)"


def _messages(payload: bytes) -> list[str]:
    """The handshake messages of a record; one that does not read as such is sealed (TLS 1.2 Finished)."""
    names: list[str] = []
    at = 0
    while at < len(payload):
        name = _HANDSHAKE.get(payload[at])
        end = at + 4 + int.from_bytes(payload[at + 1 : at + 4], "big")
        if name is None or at + 4 > len(payload) or (end > len(payload) and names):
            return [*names, "sealed"]
        if end > len(payload):
            return [name, "(its beginning)"] if end - at <= 1 << 16 else ["sealed"]
        names.append(name)
        at = end
    return names or ["empty"]


def describe_records(octets: bytes) -> str:
    """All TLS records of `octets` in one line."""
    records = list(split_records(octets))
    rest = len(octets) - sum(len(record.octets) for record in records)
    lines = [describe_record(record) for record in records]
    if rest:
        lines.append(f"{rest} octets of a record")
    return "; ".join(lines) or "nothing"


def describe_token(package: SecurityPackage, token: bytes) -> str:
    """One readable line on `token` of `package`: kind, flags and names, never what proves or seals."""
    if not token:
        return "empty token"
    if isinstance(package, TokenDescriber):
        return package.describe_token(token)
    if Capability.STREAM in package.info.capabilities:
        return describe_records(token)
    return f"{package.info.name} token ({len(token)} octets)"
