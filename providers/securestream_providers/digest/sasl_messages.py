"""The messages of SASL DIGEST-MD5 (RFC 2831 2.1): decoding is bounded, and strict where the digest depends on it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from securestream.errors import MalformedMessage
from securestream.options import Protection
from securestream.redaction import Redacted
from securestream.sasl.mechanism import DEFAULT_BUFFER, MAX_BUFFER
from securestream_providers.digest.sasl_crypto import Cipher

LONGEST_CHALLENGE: Final = 2047
"""Octets of a challenge (2.1.1)."""

LONGEST_RESPONSE: Final = 4095
"""Octets of a response (2.1.2)."""

QOPS: Final = {Protection.NONE: "auth", Protection.SIGN: "auth-int", Protection.ENCRYPT_AND_SIGN: "auth-conf"}
"""The qualities of protection (2.1.1)."""

_PROTECTIONS: Final = {token: protection for protection, token in QOPS.items()}
_CIPHERS: Final = {cipher.token: cipher for cipher in Cipher}
_UTF_8: Final = "utf-8"
_ALGORITHM: Final = "md5-sess"

_DIRECTIVE: Final = re.compile(
    r"""([!#$%&'*+\-.0-9A-Z^_`a-z|~]{1,64})      # its name
        [ \t\r\n]*=[ \t\r\n]*
        (?:"((?:[^"\\\x00-\x08\x0e-\x1f\x7f]|\\[^\x00])*)"
          |([^\x00-\x20",\x7f]*))                # quoted or as it is
        [ \t\r\n]*(?:,|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_EMPTY: Final = re.compile(r"[ \t\r\n,]*")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_NC: Final = re.compile(r"[0-9a-f]{8}")
_HEX: Final = re.compile(r"[0-9a-fA-F]{32}")
_SIZE: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, repr=False)
class SaslChallenge(Redacted):
    """``digest-challenge`` (2.1.1).

    Args:
        nonce: the server's nonce, as octets are written in Latin-1.
        realms: the realms.
        protections: the qualities that are offered and known here.
        ciphers: the ciphers that are offered and known here.
        max_buffer: octets of the longest protected buffer that the server takes.
        utf_8: whether names may be sent in UTF-8.
        stale: whether only the nonce of a subsequent authentication was refused.
    """

    nonce: str = field(repr=False)
    realms: tuple[str, ...] = ()
    protections: tuple[Protection, ...] = (Protection.NONE,)
    ciphers: tuple[Cipher, ...] = ()
    max_buffer: int = DEFAULT_BUFFER
    utf_8: bool = True
    stale: bool = False

    def pack(self) -> bytes:
        """The octets."""
        directives = [_quoted("realm", _octets(realm, self.utf_8)) for realm in self.realms]
        directives += [
            _quoted("nonce", self.nonce.encode("latin-1")),
            _quoted("qop", ",".join(QOPS[one] for one in self.protections).encode()),
        ]
        if Protection.ENCRYPT_AND_SIGN in self.protections:
            directives.append(_quoted("cipher", ",".join(one.token for one in self.ciphers).encode()))
        if any(self.protections):
            directives.append(f"maxbuf={self.max_buffer}".encode())
        if self.stale:
            directives.append(b"stale=true")
        if self.utf_8:
            directives.append(b"charset=utf-8")
        directives.append(b"algorithm=" + _ALGORITHM.encode())
        return b",".join(directives)

    @classmethod
    def unpack(cls, octets: bytes) -> SaslChallenge:
        """From `pack`.

        Raises:
            MalformedMessage: it is none: too long, a directive is missing, doubled, or has a value that is none.
        """
        found = _Directives(octets, LONGEST_CHALLENGE)
        if found.needed("algorithm").lower() != _ALGORITHM:
            raise MalformedMessage("DIGEST-MD5: the algorithm is md5-sess and no other")
        utf_8 = found.utf_8()
        offered = _tokens(found.once("qop", "auth"))
        return cls(
            nonce=found.needed("nonce"),
            realms=tuple(_text(realm, utf_8) for realm in found.all("realm")),
            protections=tuple(_PROTECTIONS[one] for one in offered if one in _PROTECTIONS),
            ciphers=tuple(_CIPHERS[one] for one in _tokens(found.once("cipher", "")) if one in _CIPHERS),
            max_buffer=found.max_buffer(),
            utf_8=utf_8,
            stale=found.once("stale", "").lower() == "true",
        )


@dataclass(frozen=True, repr=False)
class SaslResponse(Redacted):
    """``digest-response`` (2.1.2).

    Args:
        user: the user's name in the realm.
        realm: the realm; `None` where the server offered none.
        nonce: the server's nonce.
        cnonce: the client's nonce.
        count: how many responses were made with the nonce, this one included.
        uri: the service, ``ldap/dc1.example.com``.
        protection: the quality that was chosen.
        response: the digest, hexadecimal; empty while it is still to be computed.
        cipher: the cipher that was chosen, for ``auth-conf``.
        max_buffer: octets of the longest protected buffer that the client takes.
        utf_8: whether the name and the realm are in UTF-8; read from a message, also where they are that and nothing is
            said of it.
        authzid: as whom the client wants to act, or `None`.
    """

    user: str = field(repr=False)
    realm: str | None
    nonce: str = field(repr=False)
    cnonce: str = field(repr=False)
    count: int
    uri: str
    protection: Protection = Protection.NONE
    response: str = field(default="", repr=False)
    cipher: Cipher | None = None
    max_buffer: int = DEFAULT_BUFFER
    utf_8: bool = True
    authzid: str | None = None

    def pack(self) -> bytes:
        """The octets.

        Raises:
            MalformedMessage: the name or the realm is not of ISO 8859-1, and UTF-8 was not offered.
        """
        directives = [b"charset=utf-8"] if self.utf_8 else []
        directives.append(_quoted("username", _octets(self.user, self.utf_8)))
        if self.realm is not None:
            directives.append(_quoted("realm", _octets(self.realm, self.utf_8)))
        directives += [
            _quoted("nonce", self.nonce.encode("latin-1")),
            f"nc={self.count:08x}".encode(),
            _quoted("cnonce", self.cnonce.encode("latin-1")),
            _quoted("digest-uri", self.uri.encode("latin-1")),
            f"response={self.response}".encode(),
            f"qop={QOPS[self.protection]}".encode(),
        ]
        if self.protection:
            directives.append(f"maxbuf={self.max_buffer}".encode())
        if self.cipher is not None:
            directives.append(f"cipher={self.cipher.token}".encode())
        if self.authzid is not None:
            directives.append(_quoted("authzid", self.authzid.encode()))
        return b",".join(directives)

    @classmethod
    def unpack(cls, octets: bytes) -> SaslResponse:
        """From `pack`.

        Raises:
            MalformedMessage: it is none: too long, a directive is missing, doubled, or has a value that is none.
        """
        found = _Directives(octets, LONGEST_RESPONSE)
        name, realm, authzid = found.needed("username"), found.optional("realm"), found.optional("authzid")
        # Cyrus SASL's clients send UTF-8 and never say so
        utf_8 = found.utf_8() or all(_is_utf_8(one) for one in (name, realm or ""))
        protection = _PROTECTIONS.get(found.once("qop", "auth"))
        count, response = found.needed("nc"), found.needed("response")
        if protection is None:
            raise MalformedMessage("DIGEST-MD5: qop is auth, auth-int or auth-conf")
        if not _NC.fullmatch(count) or not _HEX.fullmatch(response):
            raise MalformedMessage("DIGEST-MD5: nc is eight hexadecimal digits, response thirty-two")
        cipher = _CIPHERS.get(found.once("cipher", "").lower())
        return cls(
            user=_text(name, utf_8),
            realm=None if realm is None else _text(realm, utf_8),
            nonce=found.needed("nonce"),
            cnonce=found.needed("cnonce"),
            count=int(count, 16),
            uri=found.needed("digest-uri"),
            protection=protection,
            response=response,
            cipher=cipher if protection is Protection.ENCRYPT_AND_SIGN else None,
            max_buffer=found.max_buffer(),
            utf_8=utf_8,
            authzid=None if authzid is None else _text(authzid, utf_8=True),
        )


def pack_proof(digest: str) -> bytes:
    """``response-auth`` (2.1.3)."""
    return f"rspauth={digest}".encode()


def is_challenge(octets: bytes) -> bool:
    """Whether a server's message is a challenge rather than its proof.

    Raises:
        MalformedMessage: it is no message.
    """
    return not _Directives(octets, LONGEST_CHALLENGE).all("rspauth")


def unpack_proof(octets: bytes) -> str:
    """The digest of ``response-auth``.

    Raises:
        MalformedMessage: it is none.
    """
    proof = _Directives(octets, LONGEST_CHALLENGE).needed("rspauth")
    if not _HEX.fullmatch(proof):
        raise MalformedMessage("DIGEST-MD5: rspauth is thirty-two hexadecimal digits")
    return proof


class _Directives:
    """The directives of a message by their names in lower case, as octets are written in Latin-1, without quotes.

    Args:
        octets: the message.
        longest: octets that it may have.
    """

    def __init__(self, octets: bytes, longest: int) -> None:
        if len(octets) > longest:
            raise MalformedMessage(f"DIGEST-MD5: a message of {len(octets)} octets, where {longest} are the most")
        text = octets.decode("latin-1")
        self._found: dict[str, list[str]] = {}
        position = _skip(text, 0)
        while position < len(text):
            matched = _DIRECTIVE.match(text, position)
            if matched is None:
                raise MalformedMessage("DIGEST-MD5: a message is directives name=value, separated by commas")
            name, quoted, plain = matched.groups()
            value = _ESCAPE.sub(r"\1", quoted) if plain is None else plain
            self._found.setdefault(name.lower(), []).append(value)
            position = _skip(text, matched.end())

    def all(self, name: str) -> list[str]:
        """Every value of a directive."""
        return self._found.get(name, [])

    def optional(self, name: str) -> str | None:
        """The value of a directive that stands there once or not at all."""
        found = self.all(name)
        if len(found) > 1:
            raise MalformedMessage(f"DIGEST-MD5: the directive {name} stands there more than once")
        return found[0] if found else None

    def once(self, name: str, default: str) -> str:
        """As `optional`, with a default."""
        found = self.optional(name)
        return default if found is None else found

    def needed(self, name: str) -> str:
        """The value of a directive that must be there, once, and says something."""
        found = self.optional(name)
        if not found:
            raise MalformedMessage(f"DIGEST-MD5: the directive {name} is missing")
        return found

    def utf_8(self) -> bool:
        """Whether ``charset=utf-8`` stands there."""
        charset = self.optional("charset")
        if charset is not None and charset.lower() != _UTF_8:
            raise MalformedMessage("DIGEST-MD5: the charset is utf-8, or none is named")
        return charset is not None

    def max_buffer(self) -> int:
        """The peer's buffer, at most what a length can tell."""
        value = self.optional("maxbuf")
        if value is None:
            return DEFAULT_BUFFER
        if not _SIZE.fullmatch(value):
            raise MalformedMessage("DIGEST-MD5: maxbuf is a number of at most nine digits")
        return min(int(value), MAX_BUFFER)


def _skip(text: str, position: int) -> int:
    matched = _EMPTY.match(text, position)
    return position if matched is None else matched.end()


def _tokens(value: str) -> Iterable[str]:
    return (token.strip().lower() for token in value.split(","))


def _quoted(name: str, value: bytes) -> bytes:
    return name.encode() + b'="' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _octets(text: str, utf_8: bool) -> bytes:
    try:
        return text.encode("utf-8" if utf_8 else "latin-1")
    except UnicodeEncodeError:
        raise MalformedMessage(
            "DIGEST-MD5: this name or realm is not of ISO 8859-1, and the peer offers no UTF-8"
        ) from None


def _is_utf_8(octets: str) -> bool:
    try:
        octets.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(octets: str, utf_8: bool) -> str:
    if not utf_8:
        return octets
    try:
        return octets.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMessage("DIGEST-MD5: a name or a realm is not the UTF-8 that its charset says") from None
