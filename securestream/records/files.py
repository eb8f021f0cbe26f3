"""Certificates, keys and lists from files: reading them, noticing that they changed, the key log."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from securestream.errors import UsageError
from securestream.records.settings import Source

UNREADABLE = (ValueError, x509.InvalidVersion, UnsupportedAlgorithm)
"""What `cryptography` raises for a certificate that OpenSSL let pass; `InvalidVersion` is no `ValueError`."""

MAX_FILE = 64 << 20
"""The largest file of certificates or lists that is read, in octets."""

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]
"""What a set of files looked like: time of change in ns, size and inode of each."""


def read(source: Source) -> bytes:
    """The octets of `source`.

    Raises:
        UsageError: the file cannot be read, or is too large.
    """
    if isinstance(source, bytes):
        return source
    try:
        with open(source, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise UsageError(f"{source} is larger than {MAX_FILE} octets")
    return data


def certificates(source: Source) -> list[x509.Certificate]:
    """All certificates of a PEM source.

    Raises:
        UsageError: there is none.
    """
    try:
        return x509.load_pem_x509_certificates(read(source))
    except ValueError as error:
        name = described(source)
        del source  # it may hold a key, too, and this frame goes into the traceback
        raise UsageError(f"{name} holds no PEM certificate: {error}") from error


def revocation_lists(source: Source) -> list[x509.CertificateRevocationList]:
    """All certificate revocation lists of a PEM source.

    Raises:
        UsageError: there is none.
    """
    begin, end = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
    found: list[x509.CertificateRevocationList] = []
    for part in read(source).split(begin)[1:]:
        body, separator, _ = part.partition(end)
        try:
            found.append(x509.load_pem_x509_crl(begin + body + separator + b"\n"))
        except ValueError as error:
            raise UsageError(f"{described(source)} holds a damaged revocation list: {error}") from error
    if not found:
        raise UsageError(f"{described(source)} holds no PEM revocation list")
    return found


def described(source: Source) -> str:
    """`source` in a message: its path, or that it is octets."""
    return "the given PEM" if isinstance(source, bytes) else str(source)


@contextmanager
def as_path(source: Source) -> Generator[str]:
    """A path under which OpenSSL reads `source`: its own, or one in memory or a private folder for octets."""
    if not isinstance(source, bytes):
        yield os.fspath(source)
    elif sys.platform == "linux":
        descriptor = os.memfd_create("securestream", os.MFD_CLOEXEC)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(source)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory() as folder:  # 0700
            path = Path(folder, "source.pem")
            path.write_bytes(source)
            yield str(path)


def stamp(sources: Iterable[Source]) -> Stamp:
    """What the files among `sources` look like now; a file that is away looks like nothing."""
    seen: list[tuple[int, int, int]] = []
    for source in sources:
        if isinstance(source, bytes):
            continue
        try:
            status = os.stat(source)
        except OSError:
            seen.append((0, 0, 0))
        else:
            seen.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(seen)


def prepare_key_log(path: Path | str) -> None:
    """Make the key log, or check it: a plain file of ours that nobody else can read (SECURITY rule 11).

    Raises:
        UsageError: it is a link, somebody else's, or open to others.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise UsageError(f"the key log {path} cannot be made: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"the key log {path} is no plain file")
    if os.name == "posix" and (status.st_uid != os.geteuid() or status.st_mode & 0o077):
        raise UsageError(f"the key log {path} is open to others: chmod 600 it, or name a new file")
