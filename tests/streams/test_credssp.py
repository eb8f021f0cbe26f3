"""CredSSP by `connect` and `listen`: who the client is, the credential it delegated, and data without a gap."""

from __future__ import annotations

import inspect
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from securestream import connect, listen
from securestream.credentials import Accounts, Credentials, Password
from securestream.errors import ErrorKind, NoCredentials, NotAuthorized, PeerGone, PeerRefused, UsageError
from securestream.options import ContextFlags, ImpersonationLevel
from securestream.principal import NameType
from securestream.provider import Established
from securestream.records.settings import Version
from securestream.streams._wrap import SecureStream
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.credssp import CredSspStream
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.tls import TlsStream, WrapArguments
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.streams.pairs import Foreign, both, closing, receive_exactly, tcp_pair

pytestmark = pytest.mark.anyio

CA = authority("the authority of CredSSP's streams")
SERVER = CA.leaf(["localhost", "127.0.0.1"])
ALICE = Password("alice", "pässword")
TARGET = "TERMSRV/localhost"
ACCOUNTS = Accounts.memory(alice="pässword", bob="other")
SERVING = Credentials(SERVER.credential, ACCOUNTS)


def client_package(tls: Version = "TLSv1.3", **more: Any) -> CredSsp:
    return CredSsp(
        Negotiate(Ntlm()), Schannel(trust=[CA.pem], maximum_version=tls), delegation=Delegation("TERMSRV/*"), **more
    )


def server_package(**more: Any) -> CredSsp:
    return CredSsp(Negotiate(Ntlm()), Schannel(), **more)


async def credssp_over(client: ByteStream, server: ByteStream, tls: Version = "TLSv1.3") -> tuple[Any, Any]:
    return await both(
        lambda: CredSspStream.wrap_client(client, package=client_package(tls), credential=ALICE, target=TARGET),
        lambda: CredSspStream.wrap_server(server, package=server_package(), credential=SERVING),
    )


@pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])
async def test_data_and_facts(tls: Version) -> None:
    one, other = await credssp_over(*await tcp_pair(), tls)
    async with closing(one, other):
        await one.send(b"from the client")
        assert await other.receive() == b"from the client"
        await other.send(b"x" * 200_000)
        assert await receive_exactly(one, 200_000) == b"x" * 200_000
        assert other.extra(SecurityAttribute.delegated) == other.delegated == ALICE
        assert one.extra(SecurityAttribute.delegated) is one.delegated is None
        assert str(other.extra(SecurityAttribute.peer)) == "alice"
        assert one.extra(SecurityAttribute.peer).name_type is NameType.HOST
        assert one.extra(SecurityAttribute.package) == "CREDSSP"
        assert ContextFlags.DELEGATE in other.extra(SecurityAttribute.flags)
        assert ContextFlags.DELEGATE not in one.extra(SecurityAttribute.flags)
        for end in (one, other):
            assert end.extra(SecurityAttribute.bound)
            assert ContextFlags.CONFIDENTIALITY in end.extra(SecurityAttribute.flags)
            assert end.extra(SecurityAttribute.negotiation).chosen.mechanism == "NTLM"
            assert end.extra(SecurityAttribute.tls_session).version == tls


async def test_the_end_is_proved_by_close_notify() -> None:
    one, other = await credssp_over(*await tcp_pair())
    async with closing(one, other):
        await one.send(b"last words")
        await one.aclose()
        assert await other.receive() == b"last words"
        with pytest.raises(anyio.EndOfStream):
            await other.receive()
        assert other.extra(SecurityAttribute.closure_authenticated)


class _Late(ByteStream):
    """Holds what is sent back, and passes all of it on at once."""

    def __init__(self, below: ByteStream) -> None:
        self.below = below
        self.held = b""
        self.hold = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self.below.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        if self.hold:
            self.held += bytes(item)
        else:
            await self.below.send(item)

    async def send_eof(self) -> None:
        await self.below.send_eof()

    async def aclose(self) -> None:
        await self.below.aclose()


async def test_what_follows_the_last_request_is_data() -> None:
    """The client's first data travels in the packet of its credentials; nothing of it is swallowed."""
    transport, server = await tcp_pair()
    client = _Late(transport)

    async def speak() -> CredSspStream:
        stream = await CredSspStream.wrap_client(
            client, package=client_package(), credential=ALICE, target=TARGET, admit=lambda outcome: hold()
        )
        await stream.send(b"MCS Connect Initial")
        client.hold = False
        await client.below.send(client.held)
        return stream

    def hold() -> None:
        client.hold = True

    one, other = await both(
        speak, lambda: CredSspStream.wrap_server(server, package=server_package(), credential=SERVING)
    )
    async with closing(one, other):
        assert b"".join([client.held]) != b""
        assert await other.receive() == b"MCS Connect Initial"


async def test_octet_by_octet() -> None:
    class Slow(Foreign):
        async def receive(self, max_bytes: int = 65536) -> bytes:
            return await self.below.receive(7)

    one, other = await tcp_pair()
    client, server = await credssp_over(Slow(one), Slow(other))
    async with closing(client, server):
        await client.send(b"data")
        assert await receive_exactly(server, 4) == b"data"


async def test_the_delegated_credential_opens_the_next_connection_as_the_client() -> None:
    """client — CredSSP → server — Negotiate, with what was delegated → a second server, which knows alice."""
    seen: list[str] = []
    behind = await listen("127.0.0.1", 0, package=Negotiate(Ntlm()), credential=ACCOUNTS)
    front = await listen("127.0.0.1", 0, package=server_package(), credential=SERVING)

    async def tell(stream: SecureStream) -> None:
        await stream.send(str(stream.extra(SecurityAttribute.peer)).encode())

    async def pass_on(stream: SecureStream) -> None:
        assert isinstance(stream, CredSspStream)
        seen.append(str(stream.extra(SecurityAttribute.peer)))
        async with await connect(
            "127.0.0.1", behind.port, package=Negotiate(Ntlm()), credential=stream.delegated
        ) as further:
            assert isinstance(further, NegotiateStream)
            await stream.send(await further.receive())

    async with behind, front, anyio.create_task_group() as group:
        group.start_soon(behind.serve, tell)
        group.start_soon(front.serve, pass_on)
        async with await connect(
            "127.0.0.1", front.port, package=client_package(), credential=ALICE, target=TARGET
        ) as stream:
            assert isinstance(stream, CredSspStream)
            assert await stream.receive() == b"alice"
        group.cancel_scope.cancel()
    assert seen == ["alice"]


class TestArguments:
    """Those that mean the same as for TLS are passed on, and the checkers know them."""

    @pytest.mark.parametrize("name", ["wrap_client", "wrap_server"])
    def test_all_of_tls_are_there(self, name: str) -> None:
        def parameters(of: type[TlsStream]) -> set[str]:
            return set(inspect.signature(getattr(of, name)).parameters)

        assert parameters(CredSspStream) - {"further"} | set(WrapArguments.__annotations__) == parameters(TlsStream)

    async def test_they_are_used(self) -> None:
        one, other = await tcp_pair()
        async with closing(one, other):
            with pytest.raises(UsageError, match="handshake_timeout"):
                await CredSspStream.wrap_client(one, package=client_package(), credential=ALICE, handshake_timeout=0)
            with pytest.raises(UsageError, match="handshake_timeout"):
                await CredSspStream.wrap_server(
                    other, package=server_package(), credential=SERVING, handshake_timeout=0
                )

    async def test_octets_that_were_read_before(self) -> None:
        one, other = await tcp_pair()

        async def accept() -> CredSspStream:
            hello = await other.receive()
            return await CredSspStream.wrap_server(other, package=server_package(), credential=SERVING, received=hello)

        client, server = await both(
            lambda: CredSspStream.wrap_client(one, package=client_package(), credential=ALICE, target=TARGET), accept
        )
        async with closing(client, server):
            await client.send(b"data")
            assert await receive_exactly(server, 4) == b"data"

    async def test_mistakes_are_seen(self) -> None:
        one, other = await tcp_pair()
        async with closing(one, other):
            with pytest.raises(TypeError):
                await CredSspStream.wrap_client(one, alpn=["x"])  # type: ignore[call-arg]  # wrong on purpose
            with pytest.raises(TypeError):
                await CredSspStream.wrap_server(other, target=TARGET)  # type: ignore[call-arg]  # wrong on purpose


class TestRefusals:
    """Each leaves both ends with an error, and the listener serving."""

    async def test_a_wrong_password(self) -> None:
        listener = await listen("127.0.0.1", 0, package=server_package(), credential=SERVING)

        async def hello(stream: SecureStream) -> None:
            await stream.send(b"hello")

        async def ask(credential: Password) -> bytes:
            async with await connect(
                "127.0.0.1", listener.port, package=client_package(), credential=credential, target=TARGET
            ) as stream:
                return await stream.receive()

        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, hello)
            for wrong in (Password("alice", "wrong"), Password("nobody", "wrong")):
                with pytest.raises(PeerRefused) as refused:
                    await ask(wrong)
                assert refused.value.code == 0xC000006D
            assert await ask(ALICE) == b"hello"
            group.cancel_scope.cancel()

    async def test_a_target_outside_the_policy_hears_nothing(self) -> None:
        one, other = await tcp_pair()
        async with closing(one, other):
            with pytest.raises(NotAuthorized):
                await CredSspStream.wrap_client(
                    one, package=client_package(), credential=ALICE, target="HTTP/localhost"
                )
            with pytest.raises(anyio.EndOfStream):
                await other.receive()

    async def test_the_installed_default_delegates_to_nobody(self) -> None:
        with pytest.raises(NoCredentials, match="delegates to nobody"):
            await connect("127.0.0.1", 1, package=CredSsp(Ntlm(), Schannel()), credential=ALICE)

    async def test_impersonation_levels_are_refused(self) -> None:
        with pytest.raises(UsageError, match="impersonation"):
            await connect(
                "127.0.0.1",
                1,
                package=client_package(),
                credential=ALICE,
                impersonation=ImpersonationLevel.DELEGATION,
            )

    async def test_a_client_that_goes_away(self) -> None:
        one, other = await tcp_pair()

        async def leave() -> None:
            await one.aclose()

        async def accept() -> None:
            with pytest.raises(PeerGone):
                await CredSspStream.wrap_server(other, package=server_package(), credential=SERVING)

        await both(leave, accept)

    @pytest.mark.parametrize("more", [{}, {"early_authorization": True}, {"version": 5, "early_authorization": True}])
    async def test_whoever_is_not_admitted_is_told(self, more: dict[str, Any]) -> None:
        seen: list[Established] = []

        def refuse(outcome: Established) -> None:
            seen.append(outcome)
            raise NotAuthorized("not today")

        one, other = await tcp_pair()

        async def ask() -> None:
            with pytest.raises(PeerRefused, match="does not admit this user") as refused:
                await CredSspStream.wrap_client(one, package=client_package(**more), credential=ALICE, target=TARGET)
            assert refused.value.kind is ErrorKind.NOT_AUTHORIZED

        async def accept() -> None:
            with pytest.raises(NotAuthorized, match="not today"):
                await CredSspStream.wrap_server(other, package=server_package(**more), credential=SERVING, admit=refuse)

        await both(ask, accept)
        assert [(outcome.peer.name, outcome.delegated) for outcome in seen] == [("alice", None)]

    async def test_version_5_has_no_word_for_it_but_the_early_verdict(self) -> None:
        listener = await listen(
            "127.0.0.1", 0, package=server_package(version=5), credential=SERVING, admit=refuse_anybody
        )
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, refuse_to_be_called)
            with pytest.raises(PeerGone, match="whether the account may log on"):
                await connect("127.0.0.1", listener.port, package=client_package(), credential=ALICE, target=TARGET)
            group.cancel_scope.cancel()

    async def test_a_listener_refuses_one_and_admits_the_next(self) -> None:
        def admit(outcome: Established) -> None:
            if outcome.peer.name != "alice":
                raise NotAuthorized("only alice")

        async def hello(stream: SecureStream) -> None:
            await stream.send(b"hello")

        listener = await listen("127.0.0.1", 0, package=server_package(), credential=SERVING, admit=admit)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, hello)
            bob = Password("bob", "other")
            with pytest.raises(PeerRefused, match="does not admit this user"):
                await connect("127.0.0.1", listener.port, package=client_package(), credential=bob, target=TARGET)
            async with await connect(
                "127.0.0.1", listener.port, package=client_package(), credential=ALICE, target=TARGET
            ) as stream:
                assert await stream.receive() == b"hello"
            group.cancel_scope.cancel()

    async def test_a_server_that_the_client_does_not_admit_gets_nothing(self) -> None:
        one, other = await tcp_pair()

        async def ask() -> None:
            with pytest.raises(NotAuthorized, match="not today"):
                await CredSspStream.wrap_client(
                    one, package=client_package(), credential=ALICE, target=TARGET, admit=refuse_anybody
                )

        async def accept() -> None:
            with pytest.raises(PeerGone):
                await CredSspStream.wrap_server(other, package=server_package(), credential=SERVING)

        await both(ask, accept)


def refuse_anybody(outcome: Established) -> None:
    raise NotAuthorized("not today")


async def refuse_to_be_called(stream: SecureStream) -> None:
    raise AssertionError("a connection that was refused is served")
