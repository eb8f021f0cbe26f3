"""Samba's smbpasswd files."""

from __future__ import annotations

from securestream.redaction import Secret
from securestream.services.smbpasswd import parse_smbpasswd
from tests.fuzz.harness import Parser

_DECOY = Secret(bytes(16))
_NONE = "X" * 32
_HASHES = ("8846F7EAEE8FB117AD06BDD830B7586C", "31D6CFE0D16AE931B73C59D7E0C089C0", "0123456789abcdef0123456789abcdef")


def _line(name: str, uid: int, lm: str, nt: str, flags: str) -> str:
    return f"{name}:{uid}:{lm}:{nt}:[{flags:11}]:LCT-5F0E66D0:\n"


_FILES = (
    _line("alice", 1000, _NONE, _HASHES[0], "U"),
    "# SMB password file.\n#\n"
    + _line("Ärger", 1001, _HASHES[1], _HASHES[2], "UX")
    + _line("box$", 1002, _NONE, _HASHES[1], "W")
    + _line("bob", 1003, "NO PASSWORD" + "X" * 21, _NONE, "DU"),
    "".join(_line(f"user{number}", number, _NONE, _HASHES[number % 3], "U") for number in range(20)),
)


def _parse(octets: bytes) -> None:
    for key, account in parse_smbpasswd(octets, _DECOY).items():
        assert key
        assert len(account.nt_hash.reveal()) == 16


PARSERS = [Parser("smbpasswd", _parse, tuple(text.encode() for text in _FILES))]
