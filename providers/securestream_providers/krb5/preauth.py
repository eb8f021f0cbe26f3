"""Pre-authentication with long-term keys (RFC 4120 5.2.7): key recipes, encrypted timestamp, checksum of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from securestream.errors import BadSignature, MalformedMessage
from securestream.options import Random
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import (
    Checksum,
    EncryptedData,
    EtypeInfo,
    EtypeInfo2,
    PaData,
    PaEncTsEnc,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KeyUsage, PaType


@dataclass(frozen=True)
class KeyRecipe:
    """How a KDC makes a key of a password. Nobody authenticated it.

    Args:
        etype: the encryption type.
        salt: the salt; non-ASCII octets of an old ETYPE-INFO as surrogates.
        parameters: the s2kparams, or `None` for the default.
    """

    etype: int
    salt: str
    parameters: bytes | None = None


def default_salt(name: KerberosName) -> str:
    """The salt where a KDC names none: the realm and the components, joined by nothing (RFC 4120 5.2.7.5)."""
    return name.realm + "".join(name.components)


def find_padata(padata: Iterable[PaData] | None, kind: int) -> bytes | None:
    """The value of the first element of a type, or `None`."""
    return next((element.padata_value for element in padata or () if element.padata_type == kind), None)


def key_recipes(padata: Sequence[PaData] | None, name: KerberosName) -> tuple[KeyRecipe, ...]:
    """The recipes that a KDC offers, the preferred first; empty where it says nothing.

    ETYPE-INFO2 wins over ETYPE-INFO, and that over PW-SALT, which has no type: its recipe has etype 0 (RFC 4120
    5.2.7.3 to 5.2.7.5).

    Args:
        padata: of an error's METHOD-DATA, or of an AS-REP.
        name: the client, for the default salt.

    Raises:
        MalformedMessage: what is there is no such structure.
    """
    usual = default_salt(name)
    value = find_padata(padata, PaType.ETYPE_INFO2)
    if value is not None:
        entries = EtypeInfo2.decode(value).entries
        return tuple(
            KeyRecipe(entry.etype, usual if entry.salt is None else entry.salt, entry.s2kparams) for entry in entries
        )
    value = find_padata(padata, PaType.ETYPE_INFO)
    if value is not None:
        return tuple(
            KeyRecipe(entry.etype, usual if entry.salt is None else entry.salt.decode("utf-8", "surrogateescape"))
            for entry in EtypeInfo.decode(value).entries
        )
    value = find_padata(padata, PaType.PW_SALT)
    return () if value is None else (KeyRecipe(0, value.decode("utf-8", "surrogateescape")),)


def choose_recipe(recipes: Sequence[KeyRecipe], etypes: Sequence[int], name: KerberosName) -> KeyRecipe | None:
    """The first recipe of a type that was asked for; with none at all, the default of the first type asked for.

    Args:
        recipes: of `key_recipes`.
        etypes: that the client asked for and has keys of, the preferred first.
        name: the client.

    Returns:
        `None` where the KDC offers other types only.
    """
    if not etypes:
        return None
    if not recipes:
        return KeyRecipe(etypes[0], default_salt(name))
    for recipe in recipes:
        if recipe.etype == 0:
            return KeyRecipe(etypes[0], recipe.salt)
        if recipe.etype in etypes:
            return recipe
    return None


def seal_timestamp(key: Key, usage: int, now: datetime, random: Random) -> bytes:
    """The present time under a key, as an EncryptedData in DER."""
    plain = PaEncTsEnc(now.replace(microsecond=0), now.microsecond).encode()
    return EncryptedData(key.etype, None, key.encrypt(usage, plain, random)).encode()


def open_timestamp(key: Key, usage: int, octets: bytes) -> datetime:
    """What `seal_timestamp` made.

    Raises:
        BadSignature: it is altered, or made with another key.
        MalformedMessage: it is no such structure.
    """
    sealed = EncryptedData.decode(octets)
    if sealed.etype != key.etype:
        raise BadSignature(f"the timestamp is under a key of the encryption type {sealed.etype}, not {key.etype}")
    stamp = PaEncTsEnc.decode(key.decrypt(usage, sealed.cipher))
    return stamp.patimestamp + timedelta(microseconds=stamp.pausec or 0)


def encrypted_timestamp(key: Key, now: datetime, random: Random) -> PaData:
    """PA-ENC-TIMESTAMP (RFC 4120 5.2.7.2)."""
    return PaData(PaType.ENC_TIMESTAMP, seal_timestamp(key, KeyUsage.PA_ENC_TIMESTAMP, now, random))


def read_encrypted_timestamp(key: Key, value: bytes) -> datetime:
    """The time in a PA-ENC-TIMESTAMP; see `open_timestamp`."""
    return open_timestamp(key, KeyUsage.PA_ENC_TIMESTAMP, value)


def request_checksum(key: Key, request: bytes) -> PaData:
    """PA-REQ-ENC-PA-REP for the encrypted part of an AS-REP: a checksum over the AS-REQ (RFC 6806 11).

    Args:
        key: the reply key.
        request: the AS-REQ as received, whole.
    """
    made = Checksum(key.checksum_type, key.checksum(KeyUsage.AS_REQ, request))
    return PaData(PaType.REQ_ENC_PA_REP, made.encode())


def check_request_checksum(key: Key, request: bytes, padata: Sequence[PaData] | None) -> None:
    """Check the PA-REQ-ENC-PA-REP in the encrypted part of an AS-REP whose ticket has the ENC-PA-REP flag.

    Raises:
        BadSignature: it is absent, or the KDC received another request than `request`.
    """
    value = find_padata(padata, PaType.REQ_ENC_PA_REP)
    if value is None:
        raise BadSignature("the KDC's reply lacks the checksum of the request that its flag announces (RFC 6806 11)")
    try:
        found = Checksum.decode(value)
    except MalformedMessage:
        raise BadSignature("the checksum of the request in the KDC's reply is malformed") from None
    key.verify(KeyUsage.AS_REQ, request, found.checksum, found.cksumtype)
