"""What we emit, of every kind, as the packets of a capture: handshakes, sealed data, exchanges with a KDC."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from anyio.abc import ByteStream

from examples.anonymous_provider import AnonymousPackage
from examples.custom_provider import SharedKey, SharedKeyPackage
from securestream.ambient import system_options
from securestream.credentials import Accounts, Anonymous, Credential, Credentials, Keytab, Password
from securestream.drive import Services, respond_blocking
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags, Protection
from securestream.provider import Effect, SecurityContext, SecurityPackage, TargetName
from securestream.records.settings import Version
from securestream.redaction import Secret
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.tls import TlsStream
from securestream.wire import der
from securestream_providers.kerberos import EmbeddedKdc, Kerberos
from securestream_providers.kerberos import client as kdc_client
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.krb5.keytab import write_keytab
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.interop.peers.tshark import Capture
from tests.providers.kerberos.driving import drive
from tests.streams.pairs import AUTHORITY, SERVER, Foreign, both, tcp_pair

REALM: Final = "EXAMPLE.COM"
SERVICE: Final = "host/files.example.com"
PASSWORD: Final = "alice's password"
ETYPES: Final = (17, 18, 19, 20, 23, 25, 26)
WEAK: Final = {23: ("rc4-hmac",)}

KDC_PORT: Final = 88
KPASSWD_PORT: Final = 464
LDAP_PORT: Final = 389
TLS_PORT: Final = 443
MESSAGE_FRAMING_PORT: Final = 808
"""Of .NET's message framing (net.tcp), in which alone tshark expects NegotiateStream. It takes a first message of
SPNEGO for a server's (NegTokenInit2) only from a port below 1024."""

_VIA: Final = b"net.tcp://files.example.com/"
UPGRADE: Final = (
    (True, b"\0\1\0\1\2\2" + bytes((len(_VIA),)) + _VIA + b"\3\x08\x09\x15application/negotiate"),
    (False, b"\x0a"),
)
"""The preamble that asks for NegotiateStream, and the answer ([MC-NMF] 2.2.3)."""

WHO_AM_I: Final = b"1.3.6.1.4.1.4203.1.11.3"
"""The extended operation that is sealed in LDAP (RFC 4532)."""
_SASL_IN_PROGRESS: Final = 14

Messages = list[tuple[bool, bytes]]
"""What was sent, in order, with each whether it went to the server."""


class Recording(Foreign):
    """A transport that notes what is sent through it."""

    def __init__(self, below: ByteStream, messages: Messages, *, to_server: bool) -> None:
        super().__init__(below)
        self._messages = messages
        self._to_server = to_server

    async def send(self, item: bytes) -> None:
        """Note, and pass on."""
        self._messages.append((self._to_server, bytes(item)))
        await self.below.send(item)


@dataclass
class Emitted:
    """A realm, its services and users, and the capture of what they say.

    Args:
        folder: for the key log and the keytab.
    """

    folder: Path
    capture: Capture = field(default_factory=Capture)
    ntlm_keys: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """By label: the exported session key of a handshake with NTLM."""

    def __post_init__(self) -> None:
        self.kdc = EmbeddedKdc(REALM, etypes=(18,), policy=KdcPolicy(etypes=(18, 17, 20, 19, 26, 25, 23)))
        for name in ("alice", "bob"):
            self.kdc.add_principal(name, PASSWORD)
        self.kdc.add_service(
            SERVICE, ok_as_delegate=True, trusted_to_auth=True, delegate_to=("host/other.example.com",)
        )
        self.kdc.add_service("host/other.example.com")
        for etype in ETYPES:
            self.kdc.add_service(f"echo{etype}/files.example.com", etypes=(etype,))
        self._label = "KDC"
        self.services = Services()
        self.services.register(KdcRequest, self._perform, blocking=self._answer)
        self.accounts = Accounts.memory(alice=PASSWORD)

    # --- the realm ------------------------------------------------------------------------------------------------

    @contextmanager
    def labelled(self, label: str) -> Generator[None]:
        """Exchanges with the KDC belong to `label` meanwhile."""
        before, self._label = self._label, label
        try:
            yield
        finally:
            self._label = before

    def _answer(self, effect: KdcRequest) -> bytes:
        reply = self.kdc.answer(effect)
        port = KPASSWD_PORT if effect.service is KdcService.PASSWORD else KDC_PORT
        if effect.stream:
            said = [
                (to_server, struct.pack(">I", len(one)) + one)
                for to_server, one in ((True, effect.message), (False, reply))
            ]
            self.capture.stream(self._label, port, said)
        else:
            self.capture.datagram(self._label, port, [(True, effect.message), (False, reply)])
        return reply

    async def _perform(self, effect: KdcRequest) -> bytes:
        return self._answer(effect)

    def kerberos(self, etype: int = 18) -> Kerberos:
        """Our package in this realm."""
        return Kerberos(config=replace(self.kdc.config, forwardable=True), weak=WEAK.get(etype, ()))

    def keytab(self, *names: str) -> Keytab:
        """The keys of services."""
        return self.kdc.keytab(*(names or (SERVICE,)))

    def write_keytab(self) -> Path:
        """The keys of everybody, for tshark."""
        services = [f"echo{etype}/files.example.com" for etype in ETYPES]
        everybody = ("alice", "bob", SERVICE, "host/other.example.com", f"krbtgt/{REALM}", "kadmin/changepw", *services)
        file = self.folder / "keytab"
        file.write_bytes(write_keytab(self.kdc.entries(*everybody)))
        return file

    # --- streams --------------------------------------------------------------------------------------------------

    async def negotiate_stream(
        self,
        label: str,
        client: SecurityPackage,
        server: SecurityPackage,
        credential: Credential,
        server_credential: Credential,
        *,
        protection: Protection = Protection.ENCRYPT_AND_SIGN,
        flags: ContextFlags = ContextFlags.MUTUAL,
        target: str = SERVICE,
    ) -> None:
        """A connection of NegotiateStream, its handshake and data in both directions, or its failure."""
        messages: Messages = list(UPGRADE)
        one, other = await tcp_pair()
        near, far = Recording(one, messages, to_server=True), Recording(other, messages, to_server=False)
        options = system_options(protection=protection, flags=flags)

        async def connect() -> NegotiateStream:
            return await NegotiateStream.wrap_client(
                near, package=client, credential=credential, target=target, options=options, services=self.services
            )

        async def accept() -> NegotiateStream:
            return await NegotiateStream.wrap_server(
                far, package=server, credential=server_credential, protection=protection, services=self.services
            )

        with self.labelled(f"{label}: KDC"):
            ends = await both(lambda: _or_error(connect), lambda: _or_error(accept))
        if all(isinstance(end, NegotiateStream) for end in ends):
            await _talk(*ends)
        for end in ends:
            if isinstance(end, NegotiateStream):
                await end.aclose()
        self.capture.stream(label, MESSAGE_FRAMING_PORT, messages)

    async def tls(self, label: str, version: Version) -> Path:
        """A connection of TLS; gives the file that has its secrets."""
        messages: Messages = []
        log = self.folder / f"{version}.keys"
        one, other = await tcp_pair()
        near, far = Recording(one, messages, to_server=True), Recording(other, messages, to_server=False)
        package = Schannel(trust=[AUTHORITY.pem], key_log=log, maximum_version=version)
        ends = await both(
            lambda: TlsStream.wrap_client(near, package=package, target="server.example"),
            lambda: TlsStream.wrap_server(far, package=Schannel(), credential=SERVER.credential),
        )
        await _talk(*ends)
        for end in ends:
            await end.aclose()
        self.capture.stream(label, TLS_PORT, messages)
        return log

    # --- tokens in LDAP, whose sealed data tshark opens -------------------------------------------------------------

    def ldap(
        self,
        label: str,
        client: SecurityPackage,
        server: SecurityPackage,
        *,
        target: str = SERVICE,
        flags: ContextFlags = ContextFlags.MUTUAL,
        protection: Protection = Protection.ENCRYPT_AND_SIGN,
    ) -> None:
        """A bind by SASL GSS-SPNEGO, and an operation under its protection."""
        wanted = system_options(protection=protection, flags=flags)
        demanded = system_options(protection=protection, flags=ContextFlags.NONE)
        ours = HandshakeMachine(client.initiate(self._alice, TargetName(target), wanted))
        theirs = HandshakeMachine(server.accept(Credentials(self.keytab(target), self.accounts), demanded))
        with self.labelled(f"{label}: KDC"):
            messages, near, far = self._bind(ours, theirs)
        if "NTLM" in near.package:
            self.ntlm_keys[label] = near.session_key
        encrypt = protection is Protection.ENCRYPT_AND_SIGN
        request = _ldap(9, der.element(0x77, der.element(0x80, WHO_AM_I)))
        response = _ldap(9, der.element(0x78, _result(0) + der.element(0x8B, b"u:alice")))
        for _ in range(2):
            messages.append((True, _sized(near.wrap(request, encrypt=encrypt))))
            messages.append((False, _sized(far.wrap(response, encrypt=encrypt))))
        self.capture.stream(label, LDAP_PORT, messages)

    def _bind(
        self, ours: HandshakeMachine, theirs: HandshakeMachine
    ) -> tuple[Messages, SecurityContext, SecurityContext]:
        messages: Messages = []
        near = respond_blocking(ours, None, self.services)
        while True:
            assert near.token is not None
            messages.append((True, _bind_request(len(messages) + 1, near.token)))
            far = respond_blocking(theirs, near.token, self.services)
            code = 0 if far.established is not None else _SASL_IN_PROGRESS
            messages.append((False, _bind_response(len(messages), code, far.token)))
            if near.established is None:
                near = respond_blocking(ours, far.token, self.services)
            if near.established is not None and far.established is not None:
                break
        ends = (near.established.result, far.established.result)
        assert isinstance(ends[0], SecurityContext)
        assert isinstance(ends[1], SecurityContext)
        return messages, ends[0], ends[1]

    # --- exchanges with the KDC ---------------------------------------------------------------------------------------

    def kdc_exchanges(self) -> None:
        """Whatever a client asks of a KDC, by datagrams and by streams."""
        answers: dict[type[Effect[Any]], Callable[[Any], Any]] = {KdcRequest: self._answer}
        alice, bob, service = (self.kdc.name(name) for name in ("alice", "bob", SERVICE))
        keys = kdc_client.PasswordKeys(Secret(PASSWORD))
        for label, stream in (("KDC: datagrams", False), ("KDC: streams", True)):
            session = kdc_client.Session(
                kdc_client.ClientSettings(
                    self.kdc.config, stream=stream, renew_lifetime=timedelta(days=1), forwardable=True
                ),
                system_options(),
            )
            with self.labelled(label):
                tgt = drive(kdc_client.initial_ticket(session, alice, keys), answers).ticket
                drive(kdc_client.service_ticket(session, tgt, service), answers)
                drive(kdc_client.renew(session, tgt), answers)
                drive(kdc_client.forwarded_tgt(session, tgt), answers)
                other = drive(kdc_client.initial_ticket(session, bob, keys), answers).ticket
                drive(kdc_client.user_to_user(session, tgt, bob, other.ticket), answers)
                entries = self.kdc.entries(SERVICE)
                own = drive(kdc_client.initial_ticket(session, service, kdc_client.KeytabKeys(entries)), answers).ticket
                evidence = drive(kdc_client.s4u2self(session, own, alice), answers)
                drive(kdc_client.s4u2proxy(session, own, evidence, self.kdc.name("host/other.example.com")), answers)
            with self.labelled(f"{label}, password changed"):
                drive(kdc_client.change_password(session, bob, keys, Secret(PASSWORD)), answers)
        session = kdc_client.Session(kdc_client.ClientSettings(self.kdc.config), system_options())
        with self.labelled("KDC: refusals"):
            for name in ("nobody", "alice"):
                wrong = kdc_client.PasswordKeys(Secret("wrong"))
                try:
                    drive(kdc_client.initial_ticket(session, self.kdc.name(name), wrong), answers)
                except SecureStreamError:
                    continue
                raise AssertionError(f"{name} logged on")

    # --- all of it ----------------------------------------------------------------------------------------------------

    async def everything(self) -> list[Path]:
        """Emit every kind; gives the key logs."""
        await self._streams()
        await self._streams_in_particular()
        await self._refusals()
        self._sealed_operations()
        self.kdc_exchanges()
        return [await self.tls("TLS 1.3", "TLSv1.3"), await self.tls("TLS 1.2", "TLSv1.2")]

    @property
    def _alice(self) -> Password:
        return Password("alice", PASSWORD)

    @property
    def _both(self) -> Credentials:
        return Credentials(self.keytab(), self.accounts)

    async def _streams(self) -> None:
        kerberos, ntlm = self.kerberos(), Ntlm()
        default, fallback = Negotiate(kerberos, ntlm), Negotiate(kerberos, ntlm, ntlm="always")
        alone, other_order = Negotiate(ntlm), Negotiate(ntlm, kerberos)
        first = Negotiate(kerberos, ntlm, server_first=True)
        encrypt, sign = Protection.ENCRYPT_AND_SIGN, Protection.SIGN
        for label, client, server, accepted, protection in (
            ("NNS: Negotiate, Kerberos", default, default, self._both, encrypt),
            ("NNS: Negotiate, Kerberos, signed", default, default, self._both, sign),
            ("NNS: Negotiate, Kerberos, unprotected", default, default, self._both, Protection.NONE),
            ("NNS: Negotiate, Kerberos after NTLM was refused", other_order, Negotiate(kerberos), self._both, encrypt),
            ("NNS: Negotiate, NTLM by fallback", fallback, default, self.accounts, encrypt),
            ("NNS: Negotiate, NTLM", alone, alone, self.accounts, encrypt),
            ("NNS: Negotiate, the server first", first, first, self._both, encrypt),
            ("NNS: Kerberos", kerberos, kerberos, self._both, encrypt),
            ("NNS: NTLM", ntlm, ntlm, self._both, encrypt),
            ("NNS: NTLM, signed", ntlm, ntlm, self._both, sign),
        ):
            await self.negotiate_stream(label, client, server, self._alice, accepted, protection=protection)

    async def _streams_in_particular(self) -> None:
        default = Negotiate(self.kerberos(), Ntlm())
        await self.negotiate_stream(
            "NNS: Negotiate, DCE style",
            default,
            default,
            self._alice,
            self._both,
            flags=ContextFlags.MUTUAL | ContextFlags.DCE_STYLE,
        )
        await self.negotiate_stream(
            "NNS: Negotiate, user to user",
            default,
            default,
            self._alice,
            Password("bob", PASSWORD),
            flags=ContextFlags.MUTUAL | ContextFlags.USE_SESSION_KEY,
            target=f"bob@{REALM}",
        )
        extended = Negotiate(SharedKeyPackage(), AnonymousPackage(), Ntlm())
        shared = SharedKey("alice", bytes(range(32)))
        for label, credential in (("shared key", shared), ("anonymous", Anonymous())):
            await self.negotiate_stream(f"NNS: NEGOEX, {label}", extended, extended, credential, credential)

    async def _refusals(self) -> None:
        kerberos, ntlm = self.kerberos(), Ntlm()
        default = Negotiate(kerberos, ntlm)
        for label, client, credential, accepted in (
            ("NNS: refused, no mechanism", Negotiate(kerberos), self._alice, self.accounts),
            ("NNS: refused, ticket", default, self._alice, self.keytab("host/other.example.com")),
            ("NNS: refused, password", Negotiate(ntlm), Password("alice", "wrong"), self.accounts),
        ):
            await self.negotiate_stream(label, client, default, credential, accepted)

    def _sealed_operations(self) -> None:
        default, ntlm, sign = Negotiate(self.kerberos(), Ntlm()), Negotiate(Ntlm()), Protection.SIGN
        self.ldap("LDAP: Negotiate, NTLM", ntlm, default)
        self.ldap("LDAP: Negotiate, NTLM, signed", ntlm, default, protection=sign)
        for etype in ETYPES:
            package = Negotiate(self.kerberos(etype))
            self.ldap(f"LDAP: Negotiate, Kerberos {etype}", package, package, target=f"echo{etype}/files.example.com")
        self.ldap("LDAP: Negotiate, Kerberos, signed", default, default, protection=sign)
        delegating = ContextFlags.MUTUAL | ContextFlags.DELEGATE
        self.ldap("LDAP: Negotiate, Kerberos, delegated", default, default, flags=delegating)
        self.ldap("LDAP: Negotiate, Kerberos, one way", default, default, flags=ContextFlags.NONE)


async def _or_error(wrap: Callable[[], Any]) -> Any:
    try:
        return await wrap()
    except SecureStreamError as error:
        return error


async def _talk(near: ByteStream, far: ByteStream) -> None:
    for size in (1, 100, 5000):
        await near.send(b"q" * size)
        await _read(far, size)
        await far.send(b"a" * size)
        await _read(near, size)


async def _read(stream: ByteStream, size: int) -> None:
    while size > 0:
        size -= len(await stream.receive())


def _ldap(number: int, operation: bytes) -> bytes:
    return der.element(0x30, der.element(2, bytes((number,))) + operation)


def _bind_request(number: int, token: bytes) -> bytes:
    sasl = der.element(0xA3, der.element(4, b"GSS-SPNEGO") + der.element(4, token))
    return _ldap(number, der.element(0x60, der.element(2, b"\3") + der.element(4, b"") + sasl))


def _bind_response(number: int, code: int, token: bytes | None) -> bytes:
    credentials = b"" if token is None else der.element(0x87, token)
    return _ldap(number, der.element(0x61, _result(code) + credentials))


def _result(code: int) -> bytes:
    return der.element(10, bytes((code,))) + der.element(4, b"") * 2


def _sized(token: bytes) -> bytes:
    return struct.pack(">I", len(token)) + token
