"""The proof that both ends see the same TLS key ([MS-CSSP] 3.1.5, CVE-2018-0886): what is wrapped as pubKeyAuth."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from securestream.errors import BadBindings, CertificateRejected, ErrorKind, InvalidToken, MalformedMessage
from securestream.options import Role
from securestream.wire import der
from securestream_providers.credssp.messages import NONCE_SIZE

HASHED_SINCE: Final = 5
"""The version from which hashes with a nonce are exchanged in place of the key itself."""

_MAGIC: Final = {
    Role.INITIATOR: b"CredSSP Client-To-Server Binding Hash\0",
    Role.ACCEPTOR: b"CredSSP Server-To-Client Binding Hash\0",
}
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_KEY_AT: Final = 5
"""SubjectPublicKeyInfo among the members of TBSCertificate, its version left out (RFC 5280 4.1)."""
_MEMBERS: Final = 7


def public_key(certificate: bytes) -> bytes:
    """The content of SubjectPublicKey in a certificate, as both ends bind to it: for RSA the RSAPublicKey.

    Args:
        certificate: the server's leaf, DER.

    Raises:
        CertificateRejected: its key cannot be read.
    """
    try:
        tag, whole, rest = der.split_element(certificate)
        elements = _elements(_elements(whole)[0][1])
        if elements[0][0] == _VERSION:
            del elements[0]
        _, bits = _elements(elements[_KEY_AT][1])[1]
    except (MalformedMessage, IndexError) as error:
        raise CertificateRejected("the key in the server's certificate cannot be read: it needs another one") from error
    if tag != _SEQUENCE or rest or len(bits) < 2 or bits[0]:
        raise CertificateRejected("the key in the server's certificate cannot be read: it needs another one")
    return bits[1:]  # behind the number of unused bits


def _elements(content: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while content and len(found) < _MEMBERS:
        tag, value, content = der.split_element(content)
        found.append((tag, value))
    return found


def plaintext(role: Role, version: int, key: bytes, nonce: bytes | None) -> bytes:
    """What the end of `role` wraps as pubKeyAuth.

    Args:
        role: whose proof it is; the two are never the same.
        version: the version in force: it alone decides the form, never whether there is a nonce.
        key: `public_key` of the server's certificate.
        nonce: the client's, from version 5 on.

    Raises:
        InvalidToken: version 5 or later without a nonce of 32 octets.
    """
    if version >= HASHED_SINCE:
        if nonce is None or len(nonce) != NONCE_SIZE:
            raise InvalidToken(f"from version {HASHED_SINCE} on CredSSP needs a client nonce of {NONCE_SIZE} octets")
        return hashlib.sha256(_MAGIC[role] + nonce + key).digest()
    if role is Role.INITIATOR:
        return key
    return bytes(((key[0] + 1) & 0xFF,)) + key[1:]


def check(received: bytes, role: Role, version: int, key: bytes, nonce: bytes | None) -> None:
    """Compare the peer's proof, in constant time.

    Args:
        received: its pubKeyAuth, unwrapped.
        role: the peer's role.
        version: as for `plaintext`.
        key: as for `plaintext`.
        nonce: as for `plaintext`.

    Raises:
        BadBindings: the peer sees another TLS key: somebody stands between.
    """
    if not hmac.compare_digest(received, plaintext(role, version, key, nonce)):
        raise BadBindings(
            "the peer's TLS key is another one than this end's: somebody stands between the two ends, and nothing was "
            "delegated; look for a proxy that opens TLS",
            told=ErrorKind.LOGON_DENIED,  # that the password was right is nothing for whoever stands there
        )
