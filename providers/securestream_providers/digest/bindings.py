"""Channel and service bindings of HTTP Digest, version 1: a marked nonce, and directives whose hash is in the cnonce.

Source: draft-santesson-digestbind-01 and MS-DPSP, by way of the authors' slides at IETF 72, of Microsoft's published
reference source of .NET Framework (a client), and of challenges of IIS in public reports; the draft itself has expired.
Tested against itself alone, since no other implementation was at hand.

A server that looks at bindings begins its nonces with a marker. A client that understands it says which service it
means, and in which channel, and its cnonce begins with a hash of the two. The digest covers the cnonce, and so both:
whoever stands in between can take the directives away, but not what says that they belong there.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from securestream.channel_bindings import ChannelBindings
from securestream.errors import MalformedMessage
from securestream.http.fields import Parameter, SchemeValue

MARKER: Final = "+Upgraded+"
"""What a nonce or cnonce of any version begins with; case counts."""

VERSION_1: Final = MARKER + "v1"
"""What it begins with here."""

RANDOM_SIZE: Final = 16
"""Random octets behind the hash in a cnonce; hexadecimal digits, as Windows sends them."""

UNBOUND: Final = "0" * 32
"""The ``channel-binding`` of a client that has no secure channel, or does not know it."""

_DIRECTIVES: Final = "hashed-dirs"
_SERVICE: Final = "service-name"
_CHANNEL: Final = "channel-binding"
_HASHED: Final = (_SERVICE, _CHANNEL)
_NAME: Final = re.compile(r"[\x20-\x7e]{0,1024}")
_DIGITS: Final = re.compile(r"[0-9a-f]{32}")


def is_marked(nonce: str) -> bool:
    """Whether a nonce or cnonce has the marker, of whatever version."""
    return nonce.startswith(MARKER)


@dataclass(frozen=True)
class DigestBinding:
    """What a client binds its response to.

    Args:
        service_name: the service principal name that it means, ``HTTP/host``.
        channel_binding: MD5 of the channel's bindings, 32 hexadecimal digits in lower case; `UNBOUND` for no channel.
    """

    service_name: str
    channel_binding: str = UNBOUND

    @classmethod
    def to(cls, host: str, bindings: ChannelBindings | None) -> DigestBinding:
        """The binding to a web server or proxy.

        Args:
            host: its name; one that is internationalised is written as DNS has it (RFC 3490 5).
            bindings: of the channel to it, or `None`.
        """
        return cls(f"HTTP/{_ascii(host)}", UNBOUND if bindings is None else bindings.md5().hex())

    @classmethod
    def parse(cls, response: SchemeValue, cnonce: str) -> DigestBinding | None:
        """The binding of a response, or `None` where it has none and does not say that it has.

        Raises:
            MalformedMessage: cnonce and directives do not go together: one of them was taken away, added or altered.
        """
        directives, service, channel = (response.parameter(name) for name in (_DIRECTIVES, *_HASHED))
        if not is_marked(cnonce):
            if (directives, service, channel) == (None, None, None):
                return None
            raise MalformedMessage("the response binds a service or a channel, and its cnonce does not cover that")
        if directives is None or service is None or channel is None:
            raise MalformedMessage(
                "the cnonce covers service-name and channel-binding, and one of hashed-dirs, service-name and "
                "channel-binding is missing: somebody took it away"
            )
        if not cnonce.startswith(VERSION_1):
            raise MalformedMessage(f"the client binds by another version than the {VERSION_1} that was offered")
        # v1 hashes these two in this order; what it would cover of further directives, nobody says
        if tuple(name.strip().lower() for name in directives.split(",", len(_HASHED))) != _HASHED:
            raise MalformedMessage(f'hashed-dirs of {VERSION_1} is "{",".join(_HASHED)}"')
        if not _NAME.fullmatch(service) or not _DIGITS.fullmatch(channel):
            raise MalformedMessage("service-name is a name in ASCII, channel-binding 32 hexadecimal digits, lower case")
        binding = cls(service, channel)
        if not binding.fits(cnonce):
            raise MalformedMessage("the cnonce covers another service-name or channel-binding: somebody altered them")
        return binding

    @property
    def is_unbound(self) -> bool:
        """Whether it names no channel."""
        return self.channel_binding == UNBOUND

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The directives, as a response holds them."""
        return (
            Parameter(_DIRECTIVES, ",".join(_HASHED)),
            Parameter(_SERVICE, self.service_name),
            Parameter(_CHANNEL, self.channel_binding),
        )

    def cnonce(self, random: bytes) -> str:
        """The cnonce that covers the directives.

        Args:
            random: `RANDOM_SIZE` unpredictable octets.
        """
        return f"{VERSION_1}{self._hash()}{random.hex()}"

    def fits(self, cnonce: str) -> bool:
        """Whether that cnonce covers just these directives."""
        sent = cnonce[len(VERSION_1) : len(VERSION_1) + len(UNBOUND)].encode("latin-1", "replace")
        return cnonce.startswith(VERSION_1) and hmac.compare_digest(sent, self._hash().encode("ascii"))

    def is_of(self, bindings: ChannelBindings) -> bool:
        """Whether the channel is that one."""
        return hmac.compare_digest(self.channel_binding.encode("latin-1", "replace"), bindings.md5().hex().encode())

    def _hash(self) -> str:
        # MD5 whatever the algorithm of the digest is: the version in the marker says so, and there is no other. Whoever
        # relays does not choose what the server is, so he would need a second preimage of that, against which no attack
        # on MD5 is known; that its collisions are found is of no use to him.
        octets = f"{self.service_name}:{self.channel_binding}".encode("ascii", "replace")
        return hashlib.md5(octets, usedforsecurity=False).hexdigest()


def _ascii(host: str) -> str:
    """A host as DNS has it; an HTTP library may show its labels decoded, which have been normalised then."""
    labels = host.split(".")
    return ".".join(one if one.isascii() else "xn--" + one.encode("punycode").decode("ascii") for one in labels)
