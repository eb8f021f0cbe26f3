"""TLS 1.3 records made by hand, with the secrets of a key log: what no engine sends by itself (RFC 8446 5.2, 7.2)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from securestream.records.base import RecordConnection

HANDSHAKE, DATA = 22, 23
KEY_UPDATE = bytes((24, 0, 0, 1, 1))
"""KeyUpdate with update_requested."""


def _expand(secret: bytes, label: bytes, length: int, digest: HashAlgorithm) -> bytes:
    info = length.to_bytes(2, "big") + bytes((6 + len(label),)) + b"tls13 " + label + b"\0"
    return HKDFExpand(digest, length, info).derive(secret)


@dataclass
class Forger:
    """Continues the client's side of a connection."""

    secret: bytes
    digest: HashAlgorithm
    sequence: int = 0

    def record(self, message: bytes, kind: int = DATA) -> bytes:
        """A protected record."""
        key, iv = _expand(self.secret, b"key", 32, self.digest), _expand(self.secret, b"iv", 12, self.digest)
        inner = message + bytes((kind,))
        header = bytes((DATA, 3, 3)) + (len(inner) + 16).to_bytes(2, "big")
        nonce = (int.from_bytes(iv, "big") ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        return header + AESGCM(key).encrypt(nonce, inner, header)

    def key_update(self) -> bytes:
        """A record that asks for new keys; those of this side are new after it."""
        record = self.record(KEY_UPDATE, HANDSHAKE)
        self.secret = _expand(self.secret, b"traffic upd", self.digest.digest_size, self.digest)
        self.sequence = 0
        return record


def forge(server: RecordConnection, trust: bytes, name: str, key_log: Path) -> Forger:
    """Complete a handshake with `server`; go on by hand."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trust.decode())
    context.keylog_filename = str(key_log)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    for _ in range(3):
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        if outgoing.pending:
            server.receive_data(outgoing.read())
        server.next_event()
        incoming.write(server.data_to_send())
    cipher = tls.cipher()
    assert cipher is not None
    assert "AES_256_GCM" in cipher[0] or "AES_128_GCM" in cipher[0]
    assert "256" in cipher[0].split("_")[2]
    lines = (line.split() for line in key_log.read_text().splitlines())
    secret = next(bytes.fromhex(line[2]) for line in lines if line[:1] == ["CLIENT_TRAFFIC_SECRET_0"])
    return Forger(secret, SHA384() if "SHA384" in cipher[0] else SHA256())
