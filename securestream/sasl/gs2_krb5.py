"""GS2-KRB5 and GS2-KRB5-PLUS (RFC 5801): Kerberos bound to the GS2 header and to the TLS channel, without a layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Credential
from securestream.errors import InvalidToken, MalformedMessage
from securestream.nested import Nested
from securestream.options import BindingPolicy, ContextFlags, Options, Protection, Role
from securestream.provider import (
    Capability,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    SecurityPackage,
    TargetName,
    Unusable,
)
from securestream.sasl.gs2 import PLUS, Gs2Header, client_header, server_data
from securestream.sasl.gss_layer import GssLayer, context_of, fitting
from securestream.sasl.gssapi import KERBEROS, check_kerberos
from securestream.sasl.mechanism import (
    Authorize,
    authorized,
    check_authzid,
    check_no_layer_wanted,
    mechanism_info,
    own_identity,
)
from securestream.wire import der

NAME: Final = "GS2-KRB5"
TOKEN_BEGINS: Final = b"\x01\x00\x6e"
"""How a first token begins behind the header: as an AP-REQ (RFC 4121 4.1)."""
_FRAME: Final = 0x60
_OID: Final = der.oid_octets(KERBEROS)
_INFO: Final = {
    name: mechanism_info(
        name, "Kerberos V5 without a security layer (RFC 5801)", Capability.MUTUAL_AUTH | Capability.DELEGATION
    )
    for name in (NAME, NAME + PLUS)
}


@dataclass(frozen=True)
class Gs2Krb5:
    """The SASL mechanism GS2-KRB5, or GS2-KRB5-PLUS, which binds to the TLS channel around it.

    Args:
        package: the Kerberos package.
        plus: whether it binds to `Options.channel_bindings`.
        authzid: as whom a client wants to act; empty for itself.
        authorize: whether a server lets a client act as another identity that it asks for.

    Raises:
        UsageError: the package is not Kerberos, or the authorisation identity cannot be sent.
    """

    package: SecurityPackage
    plus: bool = False
    authzid: str = ""
    authorize: Authorize = own_identity

    def __post_init__(self) -> None:
        check_kerberos(NAME, self.package, "Gs2Krb5")
        check_authzid(self.authzid)

    @property
    def name(self) -> str:
        """The mechanism's name."""
        return NAME + PLUS if self.plus else NAME

    @property
    def info(self) -> PackageInfo:
        """What the mechanism is."""
        return _INFO[self.name]

    @property
    def client_first(self) -> bool:
        """The client speaks first."""
        return True

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        return self.package.usable(credential, role)

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The client's handshake.

        Args:
            credential: what the package takes.
            target: the service, ``imap/mail.example.com``.
            options: what is wanted.

        Raises:
            HandshakeError: of the package.
            QualityNotMet: a security layer is asked for.
        """
        check_no_layer_wanted(self.name, options)
        header, data = client_header(self.name, options, self.authzid)
        asked = _options(options, header, data)
        # no layer follows that would need it, but Cyrus SASL's servers refuse a client without it, with no word why
        asked = replace(asked, flags=asked.flags | ContextFlags.SEQUENCE)
        handshake = self.package.initiate(credential, target, asked)
        with Nested(handshake, limits=options.limits) as inner:
            step = yield from inner.step()
            token: bytes | None = _first_token(header, step.token or b"")
            while step.established is None:
                reply = yield from Exchange(token)
                step = yield from inner.step(reply)
                token = step.token
            return self._established(inner.established, self.authzid, token)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The server's handshake.

        Args:
            credential: what the package takes.
            options: what is wanted.

        Raises:
            HandshakeError: of the package.
            BadBindings: the client is not at the other end of this channel.
            Downgrade: somebody removed the -PLUS from what this end offers.
            NotAuthorized: the client may not act as it asks.
            QualityNotMet: a security layer is asked for.
        """
        check_no_layer_wanted(self.name, options)
        received = yield from Exchange()
        header, rest = Gs2Header.unpack(received)
        data = server_data(self.name, header, options)
        handshake = self.package.accept(credential, _options(options, header, data))
        with Nested(handshake, limits=options.limits) as inner:
            step = yield from inner.step(restored(header, rest))
            while step.established is None:
                received = yield from Exchange(step.token)
                step = yield from inner.step(received)
            authorized(inner.established.peer, header.authzid, self.authorize)
            return self._established(inner.established, header.authzid, step.token)

    def _established(self, outcome: Established, authzid: str, token: bytes | None) -> Established:
        context = context_of(outcome)
        if ContextFlags.MUTUAL not in context.flags:
            raise InvalidToken(f"{self.name} needs mutual authentication, and the client did not ask for it")
        layer = GssLayer(
            self.name, context, Protection.NONE, authzid=authzid, peer_buffer=0, own_buffer=0, bound=self.plus
        )
        return Established(layer, outcome.peer, token, outcome.negotiation)


def _options(options: Options, header: Gs2Header, data: bytes) -> Options:
    """What is asked of Kerberos: mutual authentication, bound to the header and the channel (RFC 5801 5.1)."""
    return replace(
        fitting(options, ContextFlags.MUTUAL),
        channel_bindings=ChannelBindings(header.pack() + data),
        binding_policy=BindingPolicy.ALWAYS,
    )


def _first_token(header: Gs2Header, token: bytes) -> bytes:
    """The first token without its frame (RFC 2743 3.1), behind the header."""
    if token[:1] != bytes((_FRAME,)):
        return b"F," + header.pack() + token
    _, content, rest = der.split_element(token)
    if rest or not content.startswith(_OID):
        raise MalformedMessage("the Kerberos package frames its token for another mechanism")
    return header.pack() + content[len(_OID) :]


def restored(header: Gs2Header, rest: bytes) -> bytes:
    """The first token with its frame again, as a Kerberos acceptor takes it."""
    return rest if header.nonstandard else der.element(_FRAME, _OID + rest)
