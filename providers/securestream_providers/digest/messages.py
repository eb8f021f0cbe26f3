"""The fields of HTTP Digest as values: challenge, response and Authentication-Info (RFC 7616 3.3-3.5, RFC 2617 3.2).

Which parameters are quoted is settled by RFC 7616: in a response ``algorithm``, ``qop``, ``nc`` and ``userhash`` are
not, in a challenge ``algorithm``, ``stale`` and ``userhash``. Either form is read, since many peers quote all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from securestream.errors import MalformedMessage
from securestream.http.fields import (
    Authorization,
    Challenge,
    Parameter,
    SchemeValue,
    encode_information,
    encode_parameters,
    parse_information,
)
from securestream.redaction import Redacted
from securestream_providers.digest.algorithms import Algorithm, Qop
from securestream_providers.digest.bindings import DigestBinding

SCHEME: Final = "Digest"

LONGEST: Final = 4096
"""Characters that a nonce, a cnonce, an opaque value, a realm or a name may have."""

LONGEST_URI: Final = 32768
"""Characters that a uri may have."""

_RESERVED: Final = re.compile(r"[^A-Za-z0-9\-._~]")
_PERCENT: Final = re.compile(r"%([0-9a-fA-F]{2})")
_NC: Final = re.compile(r"[0-9a-fA-F]{8}")
_HEX: Final = re.compile(r"[0-9a-fA-F]{32,128}")
_EXT_VALUE: Final = re.compile(
    r"(?i:UTF-8)'[A-Za-z0-9-]*'((?:%[0-9a-fA-F]{2}|[A-Za-z0-9!#$&+\-.^_`|~])*)"
)  # RFC 5987 3.2.1


def to_field(text: str) -> str:
    """Text as the octets of its UTF-8, one character each, as fields carry it (RFC 7616 4, ``charset=UTF-8``)."""
    return unicodedata.normalize("NFC", text).encode("utf-8", "replace").decode("latin-1")


def from_field(octets: str) -> str:
    """The text of a field's octets: UTF-8, or ISO 8859-1 where it is none."""
    raw = octets.encode("latin-1", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return octets


@dataclass(frozen=True, repr=False)
class DigestChallenge(Redacted):
    """A challenge (RFC 7616 3.3). All text is as fields carry it, without quotes.

    Args:
        realm: the realm.
        nonce: the server's nonce.
        algorithm: the algorithm; `None` is one that is not known here.
        qops: the offered qualities that are known here; empty also where none was offered (RFC 2069).
        opaque: to be returned as it is, or `None`.
        stale: whether the refused response was wrong in its nonce only.
        domain: the URIs of the protection space, space separated; empty for the whole origin.
        utf_8: whether ``charset=UTF-8`` was given.
        userhash: whether names may be sent hashed.
    """

    realm: str
    nonce: str = field(repr=False)
    algorithm: Algorithm | None
    qops: tuple[Qop, ...]
    opaque: str | None = field(default=None, repr=False)
    stale: bool = False
    domain: str = ""
    utf_8: bool = False
    userhash: bool = False

    @classmethod
    def parse(cls, challenge: Challenge) -> DigestChallenge:
        """From a challenge of the scheme Digest.

        Raises:
            MalformedMessage: a parameter is missing, too long, or has a value that is none.
        """
        offered = challenge.parameter("qop")
        known = {qop.value: qop for qop in Qop}
        tokens = () if offered is None else tuple(token.strip().lower() for token in offered.split(",", 8))
        return cls(
            realm=_needed(challenge, "realm"),
            nonce=_needed(challenge, "nonce"),
            algorithm=Algorithm.named(challenge.parameter("algorithm")),
            qops=tuple(known[token] for token in tokens if token in known),
            opaque=_bounded(challenge, "opaque"),
            stale=_flag(challenge, "stale"),
            domain=_bounded(challenge, "domain") or "",
            utf_8=(challenge.parameter("charset") or "").lower() == "utf-8",
            userhash=_flag(challenge, "userhash"),
        )

    def encode(self) -> str:
        """The value of WWW-Authenticate or Proxy-Authenticate."""
        algorithm = Algorithm.MD5 if self.algorithm is None else self.algorithm
        parameters = [
            Parameter("realm", self.realm),
            Parameter("qop", ",".join(qop.value for qop in self.qops)),
            Parameter("algorithm", algorithm.token, quoted=False),
            Parameter("nonce", self.nonce),
        ]
        if self.opaque is not None:
            parameters.append(Parameter("opaque", self.opaque))
        if self.domain:
            parameters.append(Parameter("domain", self.domain))
        if self.stale:
            parameters.append(Parameter("stale", "true", quoted=False))
        if self.utf_8:
            parameters.append(Parameter("charset", "UTF-8", quoted=False))
        if self.userhash:
            parameters.append(Parameter("userhash", "true", quoted=False))
        return encode_parameters(SCHEME, parameters)


@dataclass(frozen=True, repr=False)
class DigestResponse(Redacted):
    """A response (RFC 7616 3.4). `username` is text; the rest is as fields carry it.

    Args:
        username: the name, or with `userhash` the hexadecimal H(user:realm).
        realm: the realm.
        nonce: the server's nonce.
        uri: the request-target that is covered.
        response: the digest.
        algorithm: the algorithm.
        qop: the quality.
        cnonce: the client's nonce.
        nc: how many requests were made with the nonce, this one included.
        opaque: the server's value, or `None`.
        userhash: whether `username` is hashed.
        extended: whether the name is sent as ``username*``.
        binding: the service and channel that the cnonce covers, or `None`.
    """

    username: str = field(repr=False)
    realm: str
    nonce: str = field(repr=False)
    uri: str = field(repr=False)
    response: str = field(repr=False)
    algorithm: Algorithm
    qop: Qop
    cnonce: str = field(repr=False)
    nc: int
    opaque: str | None = field(default=None, repr=False)
    userhash: bool = False
    extended: bool = False
    binding: DigestBinding | None = None

    @classmethod
    def parse(cls, authorization: Authorization) -> DigestResponse:
        """From credentials of the scheme Digest.

        Raises:
            MalformedMessage: a parameter is missing, too long, contradicts another, or has a value that is none.
        """
        algorithm = Algorithm.named(authorization.parameter("algorithm"))
        qop = next((qop for qop in Qop if qop.value == (authorization.parameter("qop") or "").lower()), None)
        if algorithm is None or qop is None:
            raise MalformedMessage("the digest response names no known algorithm or no qop; RFC 2069 is not accepted")
        nc, response = _needed(authorization, "nc"), _needed(authorization, "response")
        if not _NC.fullmatch(nc) or not _HEX.fullmatch(response):
            raise MalformedMessage("nc is eight hexadecimal digits, and response a hash in such digits")
        userhash = _flag(authorization, "userhash")
        name, extended = _name(authorization, userhash=userhash)
        cnonce = _needed(authorization, "cnonce")
        return cls(
            username=name,
            realm=_needed(authorization, "realm"),
            nonce=_needed(authorization, "nonce"),
            uri=_needed(authorization, "uri", LONGEST_URI),
            response=response,
            algorithm=algorithm,
            qop=qop,
            cnonce=cnonce,
            nc=int(nc, 16),
            opaque=_bounded(authorization, "opaque"),
            userhash=userhash,
            extended=extended,
            binding=DigestBinding.parse(authorization, cnonce),
        )

    def encode(self) -> str:
        """The value of Authorization or Proxy-Authorization."""
        if self.extended:
            name = Parameter("username*", "UTF-8''" + _percent_encoded(to_field(self.username)), False)
        else:
            name = Parameter("username", to_field(self.username))
        parameters = [
            name,
            Parameter("realm", self.realm),
            Parameter("nonce", self.nonce),
            Parameter("uri", self.uri),
            Parameter("response", self.response),
            Parameter("algorithm", self.algorithm.token, quoted=False),
            Parameter("qop", self.qop.value, quoted=False),
            Parameter("cnonce", self.cnonce),
            Parameter("nc", f"{self.nc:08x}", quoted=False),
        ]
        if self.opaque is not None:
            parameters.append(Parameter("opaque", self.opaque))
        if self.userhash:
            parameters.append(Parameter("userhash", "true", quoted=False))
        if self.binding is not None:
            parameters.extend(self.binding.parameters)
        return encode_parameters(SCHEME, parameters)


@dataclass(frozen=True, repr=False)
class DigestInfo(Redacted):
    """What proves the server, and a nonce for the next request (RFC 7616 3.5).

    Args:
        rspauth: the server's digest, or `None`.
        qop: its quality, or `None`.
        cnonce: the client's nonce that it answers, or `None`.
        nc: the count that it answers, or `None`.
        nextnonce: the nonce to use from now on, or `None`.
    """

    rspauth: str | None = field(default=None, repr=False)
    qop: Qop | None = None
    cnonce: str | None = field(default=None, repr=False)
    nc: int | None = None
    nextnonce: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, values: tuple[str, ...]) -> DigestInfo:
        """From the values of Authentication-Info or Proxy-Authentication-Info.

        Raises:
            MalformedMessage: a parameter has a value that is none.
        """
        found: Mapping[str, str] = parse_information(values)
        nc, qop = found.get("nc"), found.get("qop")
        if nc is not None and not _NC.fullmatch(nc):
            raise MalformedMessage("nc is eight hexadecimal digits")
        if any(len(value) > LONGEST for value in found.values()):
            raise MalformedMessage(f"a parameter of Authentication-Info has more than {LONGEST} characters")
        return cls(
            rspauth=found.get("rspauth"),
            qop=next((known for known in Qop if qop is not None and known.value == qop.lower()), None),
            cnonce=found.get("cnonce"),
            nc=None if nc is None else int(nc, 16),
            nextnonce=found.get("nextnonce"),
        )

    def encode(self) -> str:
        """The value of the field."""
        parameters: list[Parameter] = []
        if self.nextnonce is not None:
            parameters.append(Parameter("nextnonce", self.nextnonce))
        if self.qop is not None:
            parameters.append(Parameter("qop", self.qop.value, quoted=False))
        if self.rspauth is not None:
            parameters.append(Parameter("rspauth", self.rspauth))
        if self.cnonce is not None:
            parameters.append(Parameter("cnonce", self.cnonce))
        if self.nc is not None:
            parameters.append(Parameter("nc", f"{self.nc:08x}", quoted=False))
        return encode_information(parameters)


def _percent_encoded(octets: str) -> str:
    return _RESERVED.sub(lambda found: f"%{ord(found.group()):02X}", octets)


def _percent_decoded(text: str) -> bytes:
    return _PERCENT.sub(lambda found: chr(int(found.group(1), 16)), text).encode("latin-1")


def _bounded(value: SchemeValue, name: str, longest: int = LONGEST) -> str | None:
    found = value.parameter(name)
    if found is not None and len(found) > longest:
        raise MalformedMessage(f"the parameter {name} has more than {longest} characters")
    return found


def _needed(value: SchemeValue, name: str, longest: int = LONGEST) -> str:
    found = _bounded(value, name, longest)
    if found is None:
        raise MalformedMessage(f"the parameter {name} is missing (RFC 7616)")
    return found


def _flag(value: SchemeValue, name: str) -> bool:
    return (value.parameter(name) or "").lower() == "true"  # anything else is false (RFC 7616 3.3)


def _name(authorization: Authorization, *, userhash: bool) -> tuple[str, bool]:
    """The user's name, and whether it came as ``username*`` (RFC 7616 3.4, 3.4.4)."""
    plain, extended = _bounded(authorization, "username"), _bounded(authorization, "username*")
    if (plain is None) == (extended is None):
        raise MalformedMessage("a digest response has either username or username*")
    if plain is not None:
        return (plain if userhash else from_field(plain)), False
    matched = _EXT_VALUE.fullmatch(extended or "")
    if userhash or matched is None:
        raise MalformedMessage("username* is UTF-8''name with percent-encoding, and never hashed (RFC 7616 3.4.4)")
    try:
        return _percent_decoded(matched.group(1)).decode("utf-8"), True
    except UnicodeDecodeError:
        raise MalformedMessage("username* holds no UTF-8") from None
