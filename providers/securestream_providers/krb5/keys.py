"""Keys of Kerberos and what is done with them (RFC 3961)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

from securestream.errors import BadSignature, MalformedMessage, Unsupported, UsageError
from securestream.options import Random
from securestream.redaction import Redacted, Secret
from securestream.values import made_quickly
from securestream.wire.cursor import Buffer
from securestream_providers.krb5.crypto.aes_sha2 import Aes128Sha256, Aes256Sha384
from securestream_providers.krb5.crypto.profile import MacFactory, Profile, UsageKeys, altered
from securestream_providers.krb5.crypto.rc4 import Rc4, hmac_md5_signing
from securestream_providers.krb5.crypto.simplified import Aes128Sha1, Aes256Sha1, Camellia128, Camellia256, Des3

MOST_ITERATIONS: Final = 1_000_000
"""The highest count that a string-to-key accepts from a KDC: about a second of one core."""

_KNOWN: Final[dict[int, Profile]] = {
    profile.etype: profile
    for profile in (
        *(Aes128Sha1(), Aes256Sha1(), Aes128Sha256(), Aes256Sha384()),
        *(Camellia128(), Camellia256(), Des3(), Rc4()),
    )
}


def profile_of(etype: int) -> Profile:
    """What an encryption type does.

    Raises:
        Unsupported: an unknown type; single DES is never known (RFC 6649).
    """
    try:
        return _KNOWN[etype]
    except KeyError:
        raise Unsupported(f"the Kerberos encryption type {etype} is not supported; use an AES type") from None


_MOST_DERIVED: Final = 64


class _Derived:
    """The derived keys of one key, by usage. They live as long as it does."""

    __slots__ = ("encryption", "signing")

    def __init__(self) -> None:
        self.encryption: dict[int, UsageKeys] = {}
        self.signing: dict[int, MacFactory] = {}


@made_quickly
@dataclass(frozen=True, repr=False)
class Key(Redacted):
    """A protocol key: its encryption type and its octets. `repr` shows the type only.

    Keys derived from it are kept with it. Several threads may use it.

    Args:
        etype: an `EncryptionType`; others can be held, and raise `Unsupported` when they are used.
        contents: the key's octets.
    """

    etype: int
    contents: Secret[bytes]
    _derived: _Derived = field(default_factory=_Derived, init=False, repr=False, compare=False)

    @property
    def checksum_type(self) -> int:
        """The mandatory (keyed) checksum type of the encryption type."""
        return profile_of(self.etype).checksum_types[0]

    def for_usage(self, usage: int) -> UsageKeys:
        """What encrypts for `usage`; the sealing of contexts builds on it.

        Raises:
            MalformedMessage: the octets are no key of this type.
        """
        kept = self._derived.encryption
        found = kept.get(usage)
        if found is None:
            found = _checked(self).keys(self.contents.reveal(), usage)
            if len(kept) >= _MOST_DERIVED:
                kept.clear()
            kept[usage] = found
        return found

    def signing(self, usage: int) -> MacFactory:
        """Starts checksums of the mandatory type for `usage`, to be cut to the type's size.

        Raises:
            MalformedMessage: the octets are no key of this type.
        """
        kept = self._derived.signing
        found = kept.get(usage)
        if found is None:
            found = _checked(self).signing(self.contents.reveal(), usage)
            if len(kept) >= _MOST_DERIVED:
                kept.clear()
            kept[usage] = found
        return found

    def encrypt(self, usage: int, plaintext: Buffer, random: Random) -> bytes:
        """Encrypt and protect `plaintext` (RFC 3961 5.3); `random` gives the confounder."""
        return self.for_usage(usage).encrypt(plaintext, random)

    def decrypt(self, usage: int, ciphertext: Buffer) -> bytes:
        """Check and decrypt; padding of DES3 is left on.

        Raises:
            BadSignature: too short, altered, or made with another key.
        """
        return self.for_usage(usage).decrypt(ciphertext)

    def checksum(self, usage: int, data: Buffer, kind: int | None = None) -> bytes:
        """The checksum of `data`, of the mandatory type unless `kind` names another of this key's (RFC 3961 5.4).

        Raises:
            UsageError: `kind` does not belong to this key's type.
        """
        types = profile_of(self.etype).checksum_types
        if kind is not None and kind not in types:
            raise UsageError(f"the checksum type {kind} does not belong to the encryption type {self.etype}")
        return self._checksum(usage, data, types[0] if kind is None else kind)

    def verify(self, usage: int, data: Buffer, checksum: Buffer, kind: int | None = None) -> None:
        """Check a checksum in constant time.

        Args:
            kind: as received; 0xFFFFFF76 is -138. `None`: the mandatory type.

        Raises:
            BadSignature: it is wrong, or `kind` is no keyed checksum that belongs to this key's type.
        """
        types = profile_of(self.etype).checksum_types
        signed = types[0] if kind is None else kind - (1 << 32) if kind >= 1 << 31 else kind
        if signed not in types:
            raise BadSignature(
                f"the checksum type {signed} is not keyed, or does not belong to the encryption type {self.etype}"
            )
        if not hmac.compare_digest(self._checksum(usage, data, signed), checksum):
            raise altered()

    def _checksum(self, usage: int, data: Buffer, kind: int) -> bytes:
        profile = profile_of(self.etype)
        if kind != profile.checksum_types[0]:
            return _checked(self).checksum(self.contents.reveal(), usage, data, kind)
        mac = self.signing(usage)()
        mac.update(data)
        return mac.finalize()[: profile.checksum_size]

    def prf(self, data: Buffer) -> bytes:
        """The pseudo-random function of the encryption type (RFC 3961 3)."""
        return _checked(self).prf(self.contents.reveal(), bytes(data))


def _checked(key: Key) -> Profile:
    profile = profile_of(key.etype)
    if len(key.contents.reveal()) != profile.key_size:
        raise MalformedMessage(f"a key of the encryption type {key.etype} has {profile.key_size} octets")
    return profile


def make_key(etype: int, octets: Buffer) -> Key:
    """A key of its octets.

    Raises:
        MalformedMessage: the length does not fit a known `etype`.
    """
    key = Key(etype, Secret(bytes(octets)))
    del octets  # of no traceback's business
    if etype in _KNOWN:
        _checked(key)
    return key


def random_key(etype: int, random: Random) -> Key:
    """A fresh random key.

    Raises:
        Unsupported: an unknown encryption type.
    """
    profile = profile_of(etype)
    return Key(etype, Secret(profile.random_to_key(random(profile.seed_size))))


def key_of_seed(etype: int, seed: bytes) -> Key:
    """random-to-key of RFC 3961 3: the key of `seed_size(etype)` octets.

    Raises:
        Unsupported: an unknown encryption type.
        UsageError: `seed` has another length.
    """
    profile = profile_of(etype)
    if len(seed) != profile.seed_size:
        raise UsageError(f"a key of the encryption type {etype} is made of {profile.seed_size} octets")
    return Key(etype, Secret(profile.random_to_key(seed)))


def seed_size(etype: int) -> int:
    """Octets of which `key_of_seed` makes a key.

    Raises:
        Unsupported: an unknown encryption type.
    """
    return profile_of(etype).seed_size


def string_to_key(
    etype: int, password: str, salt: str, parameters: bytes | None = None, *, least: int | None = None
) -> Key:
    """The key of a password (expensive: run it in a `Compute`).

    Args:
        parameters: the s2kparams of ETYPE-INFO2, or `None` for the default.
        least: the lowest iteration count to accept, `None`: the encryption type's default. Whoever stands between
            client and KDC can name a count; a low one makes the password cheap to guess.

    Raises:
        Unsupported: an unknown encryption type, or parameters over or under the limits.
    """
    try:
        profile = profile_of(etype)
        iterations = _iterations(profile, parameters, profile.iterations if least is None else least)
        octets = password.encode("utf-8", "surrogatepass"), salt.encode("utf-8", "surrogateescape")
        return Key(etype, Secret(profile.string_to_key(*octets, iterations)))
    finally:
        del password  # this frame is in the traceback of what is raised


def _iterations(profile: Profile, parameters: bytes | None, least: int) -> int:
    """The iteration count that parameters name (RFC 3962 4), within the limits."""
    if not parameters:
        return profile.iterations
    if len(parameters) != (4 if profile.iterations else 0):
        raise Unsupported(f"the string-to-key parameters of {profile.name} are malformed; ask the KDC's operator")
    count = int.from_bytes(parameters, "big")
    if not max(least, 1) <= count <= MOST_ITERATIONS:
        raise Unsupported(
            f"the KDC asks for {count} iterations of {profile.name}; {least} to {MOST_ITERATIONS} are accepted"
        )
    return count


def hmac_md5_checksum(key: Key, usage: int, data: Buffer) -> bytes:
    """The checksum type -138 under a key of any type, as PA-FOR-USER has it ([MS-SFU] 2.2.1); nowhere else.

    `Key.verify` refuses that type for keys other than RC4.
    """
    mac = hmac_md5_signing(key.contents.reveal(), usage)()
    mac.update(data)
    return mac.finalize()


def prf_plus(key: Key, pepper: bytes, length: int) -> bytes:
    """PRF+ of RFC 6113 5.1: `length` octets.

    Raises:
        UsageError: more than 255 outputs of the pseudo-random function are asked for.
    """
    found = b""
    for count in range(1, 256):
        if len(found) >= length:
            break
        found += key.prf(bytes((count,)) + pepper)
    if len(found) < length:
        raise UsageError(f"PRF+ gives no {length} octets; ask for fewer")
    return found[:length]


def cf2(one: Key, other: Key, pepper1: bytes, pepper2: bytes) -> Key:
    """KRB-FX-CF2 (RFC 6113 5.1); the result has the type of `one`."""
    size = seed_size(one.etype)
    mixed = int.from_bytes(prf_plus(one, pepper1, size), "big") ^ int.from_bytes(prf_plus(other, pepper2, size), "big")
    return key_of_seed(one.etype, mixed.to_bytes(size, "big"))
