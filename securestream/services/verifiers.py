"""Verifiers: what a store keeps of a password for Digest and SCRAM, how it is made, and what stands in for it.

A digest verifier is a password equivalent within its realm; a SCRAM verifier lets nobody log on, but can be guessed at.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple

from securestream.arguments import check_kind
from securestream.errors import MalformedMessage, UsageError
from securestream.saslprep import saslprep

DIGEST_MD5: Final = "digest-MD5"
DIGEST_SHA_256: Final = "digest-SHA-256"
DIGEST_SHA_512_256: Final = "digest-SHA-512-256"
SASL_DIGEST_MD5: Final = "sasl-digest-MD5"
"""RFC 2831 hashes ISO 8859-1 where user, realm and password fit it, unlike RFC 7616: equal for ASCII alone."""
SCRAM_SHA_256: Final = "scram-SHA-256"

DIGESTS: Final[dict[str, str]] = {
    DIGEST_MD5: "md5",
    DIGEST_SHA_256: "sha256",
    DIGEST_SHA_512_256: "sha512_256",
    SASL_DIGEST_MD5: "md5",
}
"""The kinds that are H(user:realm:password), raw octets, with the hash's name in `hashlib`."""

SCRAM_ITERATIONS: Final = 15_000
"""PBKDF2 rounds of verifiers made here; RFC 7677 4 asks for at least 4,096."""

LONGEST_REALM: Final = 256
"""Characters of a realm."""

_SCRAM_SIZE: Final = 32
_HEAD: Final = struct.Struct(">IB")


class VerifierKey(NamedTuple):
    """Which verifier of an account.

    Args:
        kind: ``digest-MD5``, ``digest-SHA-256``, ``digest-SHA-512-256``, ``sasl-digest-MD5`` or ``scram-SHA-256``.
        realm: the realm that a digest covers; empty for SCRAM.
    """

    kind: str
    realm: str = ""


class ScramParameters(NamedTuple):
    """What a SCRAM server tells of a verifier before anything is proved (RFC 5802 5.1, ``s=`` and ``i=``)."""

    salt: bytes
    iterations: int

    def pack(self) -> bytes:
        """As one octet string."""
        return _HEAD.pack(self.iterations, len(self.salt)) + self.salt

    @classmethod
    def unpack(cls, octets: bytes) -> ScramParameters:
        """From `pack`.

        Raises:
            MalformedMessage: it is not one.
        """
        parameters, rest = _split(octets)
        if rest:
            raise MalformedMessage("SCRAM parameters have trailing octets: make the account's verifiers anew")
        return parameters


class ScramVerifier(NamedTuple):
    """What a SCRAM-SHA-256 server keeps of a password (RFC 5802 3, RFC 7677)."""

    parameters: ScramParameters
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def pack(self) -> bytes:
        """As one octet string: iterations, the salt's length, salt, StoredKey, ServerKey."""
        return self.parameters.pack() + self.stored_key + self.server_key

    @classmethod
    def unpack(cls, octets: bytes) -> ScramVerifier:
        """From `pack`.

        Raises:
            MalformedMessage: it is not one.
        """
        parameters, keys = _split(octets)
        if len(keys) != 2 * _SCRAM_SIZE:
            raise MalformedMessage("a SCRAM verifier has another length: make the account's verifiers anew")
        return cls(parameters, keys[:_SCRAM_SIZE], keys[_SCRAM_SIZE:])


def _split(octets: bytes) -> tuple[ScramParameters, bytes]:
    if len(octets) < _HEAD.size or len(octets) < _HEAD.size + octets[_HEAD.size - 1]:
        raise MalformedMessage("a SCRAM verifier is too short: make the account's verifiers anew")
    iterations, length = _HEAD.unpack_from(octets)
    end = _HEAD.size + length
    return ScramParameters(octets[_HEAD.size : end], iterations), octets[end:]


def digest_verifier(kind: str, user: str, realm: str, password: str) -> bytes:
    """H(user:realm:password), raw octets (RFC 7616 3.4.2; RFC 2831 2.1.2.1 for ``sasl-digest-MD5``).

    Raises:
        UsageError: `kind` is none of `DIGESTS`.
    """
    if kind not in DIGESTS:
        raise UsageError(f"{kind} is no kind of digest verifier: use one of {', '.join(DIGESTS)}")
    if kind == SASL_DIGEST_MD5:
        # each of the three by itself, as RFC 2831 2.1.2.1 and its sample code have it
        parts = [_latin_or_utf8(part) for part in (user, realm, password)]
    else:
        parts = [
            unicodedata.normalize("NFC", part).encode("utf-8", "surrogatepass") for part in (user, realm, password)
        ]
    return hashlib.new(DIGESTS[kind], b":".join(parts), usedforsecurity=False).digest()


def _latin_or_utf8(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def user_hash(kind: str, user: str, realm: str) -> bytes:
    """H(user:realm), raw octets: a name that travels hashed (RFC 7616 3.4.4)."""
    octets = unicodedata.normalize("NFC", f"{user}:{realm}").encode("utf-8", "surrogatepass")
    return hashlib.new(DIGESTS[kind], octets, usedforsecurity=False).digest()


def scram_verifier(password: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> ScramVerifier:
    """The SCRAM-SHA-256 verifier of a password; computes for some milliseconds.

    Raises:
        MalformedMessage: the password has characters that SASLprep prohibits.
    """
    octets = saslprep(password, stored=True).encode()
    salted = hashlib.pbkdf2_hmac("sha256", octets, salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return ScramVerifier(ScramParameters(salt, iterations), stored, hmac.digest(salted, b"Server Key", "sha256"))


def checked_realm(realm: str) -> str:
    """The realm that an administrator gives.

    Raises:
        UsageError: it is no text, too long, or has characters that no realm has.
    """
    check_kind("a realm", realm, str, "give its name as text")
    if len(realm) > LONGEST_REALM or not realm.isprintable() or '"' in realm or "\\" in realm:
        raise UsageError(f"a realm has at most {LONGEST_REALM} characters, none of them a quote or a control character")
    return realm


def salt_of(decoy: bytes, user: str) -> bytes:
    """The SCRAM salt of a name (16 octets), whether there is such an account or not.

    Known and unknown names get their salts in the same way, so a salt tells nothing, and stays what it is when an
    account comes or goes.

    Args:
        decoy: the store's.
        user: the name in the form in which the store compares names, without a domain.
    """
    return hmac.digest(decoy, b"salt:" + user.encode("utf-8", "surrogatepass"), "sha256")[:16]


def decoy_verifier(decoy: bytes, key: VerifierKey, user: str) -> bytes:
    """What stands for the verifier of an account that is unknown or has none: of the same form, and nobody's.

    Args:
        decoy: the store's.
        key: which verifier.
        user: as for `salt_of`.
    """
    label = "\0".join(("verifier", key.kind, key.realm)).encode("utf-8", "surrogatepass")
    first, second = (hmac.digest(decoy, label + bytes([number]), "sha256") for number in (1, 2))
    if key.kind == SCRAM_SHA_256:
        return ScramVerifier(ScramParameters(salt_of(decoy, user), SCRAM_ITERATIONS), first, second).pack()
    return first[: hashlib.new(DIGESTS.get(key.kind, "sha256"), usedforsecurity=False).digest_size]


def verifiers_of(
    full_name: str, password: str, realms: tuple[str, ...], salt: bytes
) -> Iterator[tuple[VerifierKey, bytes]]:
    r"""Every verifier that a store keeps of a password.

    Args:
        full_name: the name as a client writes it: ``user`` or ``DOMAIN\user``.
        password: the password. One that SASLprep prohibits gets no SCRAM verifier.
        realms: realms for which digests are kept.
        salt: for SCRAM.
    """
    for realm in realms:
        for kind in DIGESTS:
            yield VerifierKey(kind, realm), digest_verifier(kind, full_name, realm, password)
    try:
        yield VerifierKey(SCRAM_SHA_256), scram_verifier(password, salt).pack()
    except MalformedMessage:
        pass  # such a password works for the other mechanisms
