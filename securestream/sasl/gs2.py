"""The GS2 header (RFC 5801 4, RFC 5802 7): the authorisation identity, and how the client binds to the channel."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from securestream.channel_bindings import ChannelBindings
from securestream.errors import BadBindings, Downgrade, MalformedMessage, UsageError
from securestream.options import BindingPolicy, Options
from securestream.redaction import Redacted
from securestream.sasl.mechanism import read_authzid

PLUS: Final = "-PLUS"
"""How the name of a mechanism ends whose client must bind to the channel."""

Flag: TypeAlias = Literal["n", "y", "p"]
"""``n``: the client has no bindings; ``y``: it has, and saw no -PLUS offered; ``p``: it used them."""

_FLAGS: Final[dict[str, Flag]] = {"n": "n", "y": "y"}
_NAME: Final = re.compile(r"[A-Za-z0-9.-]+")
_BAD_ESCAPE: Final = re.compile(r"=(?!2C|3D)")
_LONGEST_NAME: Final = 64
"""Characters of the name of a kind of bindings; the longest registered one has 20."""


def escape(name: str) -> str:
    """A name as ``saslname``: commas and equals signs are written otherwise.

    Raises:
        UsageError: it has a NUL, which no name may have (RFC 4422 3.4.1).
    """
    if "\0" in name:
        raise UsageError("a SASL name has no NUL")
    return name.replace("=", "=3D").replace(",", "=2C")


def unescape(name: str) -> str:
    """The name that a ``saslname`` writes.

    Raises:
        MalformedMessage: it is none.
    """
    if not name or "\0" in name or "," in name or _BAD_ESCAPE.search(name):
        raise MalformedMessage("a SASL name is empty, or has an equals sign that is not =2C or =3D")
    return name.replace("=2C", ",").replace("=3D", "=")


@dataclass(frozen=True, repr=False)
class Gs2Header(Redacted):
    """What stands before the client's first token.

    Args:
        flag: how the client binds.
        binding: the name of the kind of bindings, with flag ``p``.
        authzid: the authorisation identity; empty for the client's own.
        nonstandard: the token behind it never had the frame of RFC 2743 3.1.
    """

    flag: Flag
    binding: str = ""
    authzid: str = field(default="", repr=False)
    nonstandard: bool = False

    def pack(self) -> bytes:
        """The header without the mark of nonstandard tokens, as it stands in bindings, too (RFC 5801 5.1).

        Raises:
            UsageError: the authorisation identity has a NUL.
        """
        flag = f"p={self.binding}" if self.flag == "p" else self.flag
        authzid = f"a={escape(self.authzid)}" if self.authzid else ""
        return f"{flag},{authzid},".encode()

    @classmethod
    def unpack(cls, octets: bytes) -> tuple[Gs2Header, bytes]:
        """The header at the start of a client's first token, and what follows it.

        Raises:
            MalformedMessage: there is none.
        InvalidToken: the authorisation identity is too long.
        """
        nonstandard = octets.startswith(b"F,")
        parts = (octets[2:] if nonstandard else octets).split(b",", 2)
        if len(parts) < 3:
            raise MalformedMessage("a GS2 header is due: two commas end it")
        flag, binding = _read_flag(_text(parts[0]))
        return cls(flag, binding, _read_authzid(_text(parts[1])), nonstandard), parts[2]


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("a GS2 header is UTF-8") from None


def _read_flag(text: str) -> tuple[Flag, str]:
    if text in _FLAGS:
        return _FLAGS[text], ""
    name = text[2:]
    if not text.startswith("p=") or len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise MalformedMessage("the flag of a GS2 header is n, y, or p= with the name of a kind of bindings")
    return "p", name


def _read_authzid(text: str) -> str:
    if text and not text.startswith("a="):
        raise MalformedMessage("between the commas of a GS2 header stands an authorisation identity, or nothing")
    return read_authzid(unescape(text[2:]).encode()) if text else ""


def split_bindings(bindings: ChannelBindings) -> tuple[str, bytes]:
    """The name of the kind of bindings (RFC 5056 7), and the data alone.

    Raises:
        UsageError: they are not those of a TLS channel.
    """
    prefix, colon, data = bindings.application_data.partition(b":")
    name = prefix.decode("ascii", "replace")
    if not colon or not data or not _NAME.fullmatch(name):
        raise UsageError("SASL binds to TLS alone: give bindings such as securestream.channel_bindings.tls_exporter")
    return name, data


def client_header(mechanism: str, options: Options, authzid: str) -> tuple[Gs2Header, bytes]:
    """What a client says, and the data that it binds to (RFC 5802 6).

    Args:
        mechanism: the name, which ends with ``-PLUS`` where bindings are used.
        options: with the bindings, or without any.
        authzid: the authorisation identity.

    Raises:
        UsageError: bindings must be used, and there are none.
    """
    bindings = options.channel_bindings
    if not mechanism.endswith(PLUS):
        return Gs2Header("n" if bindings is None else "y", authzid=authzid), b""
    if bindings is None:
        raise UsageError(f"{mechanism} binds to the TLS channel: give its bindings in Options.channel_bindings")
    name, data = split_bindings(bindings)
    return Gs2Header("p", name, authzid), data


def offers_plus(options: Options) -> bool:
    """Whether a server with these options offers mechanisms that bind."""
    return options.channel_bindings is not None and options.binding_policy is not BindingPolicy.NEVER


def server_data(mechanism: str, header: Gs2Header, options: Options) -> bytes:
    """Judge how the client says that it binds, and give the data that it must then have bound to (RFC 5802 6).

    Raises:
        BadBindings: it binds to a channel of another kind, or does not although it must.
        Downgrade: it would have bound, and did not see that it could: somebody altered the list of mechanisms.
        MalformedMessage: flag and mechanism contradict each other.
    """
    bindings = options.channel_bindings
    if mechanism.endswith(PLUS) is not (header.flag == "p"):
        raise MalformedMessage(f"a client of {mechanism} says that it {_SAID[header.flag]}: these do not go together")
    if header.flag == "p":
        if bindings is None or not offers_plus(options):
            raise BadBindings("the client binds to a TLS channel, and this end knows of none: give its bindings")
        name, data = split_bindings(bindings)
        if name != header.binding:
            raise BadBindings(
                f"the client binds by {header.binding} and this end by {name}: let both use the same kind of bindings"
            )
        return data
    if header.flag == "y" and offers_plus(options):
        raise Downgrade(f"the client would have used {mechanism}{PLUS}, and did not see it among what this end offers")
    if options.binding_policy is BindingPolicy.ALWAYS:
        raise BadBindings(f"channel bindings are demanded: the client must use {mechanism}{PLUS}")
    return b""


_SAID: Final[dict[Flag, str]] = {
    "n": "cannot bind to the channel",
    "y": "could have bound to the channel",
    "p": "binds to the channel",
}
