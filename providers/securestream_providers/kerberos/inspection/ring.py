"""The keys that may open something: those of a keytab and a key file, and those found in what they opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from securestream.errors import BadSignature, MalformedMessage, Unsupported, UsageError
from securestream.inspection import Inspection, InspectionKey
from securestream.redaction import Redacted
from securestream_providers.krb5.fast import armor_key, client_challenge_key, kdc_challenge_key, strengthen
from securestream_providers.krb5.keys import Key, make_key, profile_of
from securestream_providers.krb5.keytab import read_keytab
from securestream_providers.krb5.messages import EncryptedData
from securestream_providers.krb5.numbers import EncryptionType, KeyUsage
from securestream_providers.krb5.opening import unpadded

MOST: Final = 512
"""Keys that are kept."""

MOST_ARMORS: Final = 8
"""Armor keys that are kept: each is tried together with every key."""

_CLEAR: Final = 0
_NAMES: Final = {etype.name.lower().replace("_", "-"): int(etype) for etype in EncryptionType}
_SHORT: Final = {"aes128": 17, "aes256": 18, "aes128-sha2": 19, "aes256-sha2": 20, "rc4": 23, "des3": 16}


@dataclass(frozen=True, repr=False)
class Held(Redacted):
    """A key, and where it comes from."""

    key: Key
    origin: str


class Opened(NamedTuple):
    """What was decrypted, and with what."""

    octets: bytes
    held: Held | None


class Ring:
    """All keys of one inspection.

    Args:
        inspection: whose keytab and keys are taken.

    Raises:
        UsageError: the keytab is damaged, or a key's length does not fit its type.
    """

    def __init__(self, inspection: Inspection) -> None:
        self.keys: list[Held] = []
        self._armors: list[Held] = []
        self.last: Held | None = None
        """The key that opened something last."""
        if inspection.keytab is not None:
            self._add(_of_keytab(inspection.keytab))
        for key in inspection.keys:
            self._add(_of_key_file(key))

    @classmethod
    def of(cls, inspection: Inspection) -> Ring:
        """The one ring of an inspection."""
        found = inspection.memory.get("Kerberos")
        if not isinstance(found, Ring):
            found = inspection.memory["Kerberos"] = cls(inspection)
        return found

    def _add(self, held: Iterable[Held]) -> None:
        for one in held:
            if len(self.keys) < MOST and all(one.key != other.key for other in self.keys):
                self.keys.append(one)

    def learn(self, etype: int, octets: bytes, origin: str) -> Held | None:
        """Keep a key that was found; `None` where it is none."""
        try:
            found = Held(make_key(etype, octets), origin)
        except MalformedMessage:
            return None
        self._add([found])
        return found

    def learn_armor(self, subkey: Held, session: Held) -> None:
        """Keep the armor key of an AP-REQ with a subkey (RFC 6113 5.4.1.1)."""
        try:
            found = Held(armor_key(subkey.key, session.key), "the armor of FAST")
        except Unsupported:
            return
        self._armors = [*self._armors, found][-MOST_ARMORS:]
        self._add([found])

    def learn_strengthened(self, octets: bytes, etype: int) -> None:
        """Keep what a strengthening key makes of every key that is known (RFC 6113 5.4.3)."""
        found = self.learn(etype, octets, "the strengthening key of FAST")
        if found is None:
            return
        for held in self.keys[:MOST]:
            try:
                self._add([Held(strengthen(found.key, held.key), f"{held.origin}, strengthened")])
            except (Unsupported, MalformedMessage):
                continue  # a key of a type that is not supported makes no other

    def open(self, sealed: EncryptedData, usages: Sequence[int]) -> Opened | None:
        """Decrypt with the first key that fits."""
        if sealed.etype == _CLEAR:
            return Opened(sealed.cipher, None)
        return self._open(self.keys, sealed, usages)

    def open_challenge(self, sealed: EncryptedData) -> Opened | None:
        """Decrypt an encrypted challenge: with every armor key and every key together (RFC 6113 5.4.6)."""
        for armor in self._armors:
            for held in self.keys[:MOST]:
                for made, usage in (
                    (client_challenge_key, KeyUsage.ENC_CHALLENGE_CLIENT),
                    (kdc_challenge_key, KeyUsage.ENC_CHALLENGE_KDC),
                ):
                    try:
                        key = Held(made(armor.key, held.key), f"{held.origin} and the armor")
                    except (Unsupported, MalformedMessage):
                        continue  # as in `learn_strengthened`
                    found = self._open([key], sealed, (usage,))
                    if found is not None:
                        return found
        return None

    def _open(self, keys: Sequence[Held], sealed: EncryptedData, usages: Sequence[int]) -> Opened | None:
        for held in keys:
            if held.key.etype != sealed.etype:
                continue
            for usage in usages:
                try:
                    octets = held.key.decrypt(usage, sealed.cipher)
                    octets = unpadded(sealed.etype, octets)
                except (BadSignature, MalformedMessage, Unsupported):
                    continue  # the next key may fit
                self.last = held
                return Opened(octets, held)
        return None


def _of_keytab(octets: bytes) -> list[Held]:
    try:
        entries = read_keytab(octets)
    except MalformedMessage as error:
        raise UsageError(f"the keytab cannot be used: {error}") from None
    return [Held(entry.key, f"{entry.principal}, key version {entry.kvno}") for entry in reversed(entries)]


def _of_key_file(given: InspectionKey) -> list[Held]:
    """The Kerberos keys that a line may be: of every type that has keys of such a length where none is said."""
    octets = given.octets.reveal()
    if given.kind == "nt":
        types = [int(EncryptionType.RC4_HMAC)]  # an NT hash is the key of RC4 (RFC 4757 2)
    elif given.kind in ("", "session"):
        types = [int(etype) for etype in EncryptionType if profile_of(etype).key_size == len(octets)]
    elif given.kind.isdecimal() and len(given.kind) < 4:
        types = [int(given.kind)]
    elif given.kind in _NAMES or given.kind in _SHORT:
        types = [_NAMES.get(given.kind) or _SHORT[given.kind]]
    else:
        raise UsageError(
            f"{given.origin}: {given.kind!r} is no kind of key: write nt, session, or an encryption type such as 18 or "
            "aes256-cts-hmac-sha1-96"
        )
    try:
        return [Held(make_key(etype, octets), given.origin) for etype in types]
    except MalformedMessage as error:
        raise UsageError(f"{given.origin}: {error}") from None
    finally:
        del octets  # this frame is in the traceback of what is raised
