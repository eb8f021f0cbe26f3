"""SASL in a protocol of lines, as in mail: both ends in one program. ``python examples/sasl_echo.py [asyncio|trio]``.

The server names its mechanisms, the client chooses one and begins: ``AUTH mechanism [initial response]``. Challenges
are lines that begin with a plus, everything in base64. After ``OK`` all that follows passes through the security layer.
"""

from __future__ import annotations

import base64
import sys

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

import securestream as ss
from securestream.sasl import Answer, GssSpnego, SaslClient, SaslServer, ScramSha256, choose, offered
from securestream.streams.sasl import SaslStream
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

MECHANISMS = (GssSpnego(Negotiate(Ntlm())), ScramSha256())
LONGEST_LINE = 65536


class Lines:
    """Lines of text over a byte stream."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._buffered = BufferedByteReceiveStream(stream)

    @property
    def rest(self) -> bytes:
        """What was read and belongs to no line: data that came with the end of the exchange."""
        return self._buffered.buffer

    async def read(self) -> list[str]:
        """The words of the next line."""
        return (await self._buffered.receive_until(b"\r\n", LONGEST_LINE)).decode().split()

    async def write(self, *words: str) -> None:
        """Send a line."""
        await self.stream.send(" ".join(words).encode() + b"\r\n")


def armored(token: bytes) -> str:
    """A token in a line; an empty one is an equals sign, as in RFC 4954."""
    return base64.b64encode(token).decode() or "="


def unarmored(word: str) -> bytes:
    """The token."""
    return b"" if word == "=" else base64.b64decode(word)


async def serve_one(stream: SocketStream) -> None:
    """Authenticate one client and send back what it says."""
    lines, options = Lines(stream), ss.system_options()
    accounts = ss.Accounts.memory(alice="correct horse")
    known = {one.info.name: one for one in offered(MECHANISMS, accounts, options)}
    await lines.write("HELLO", *known)
    _, name, *initial = await lines.read()
    server = SaslServer(known[name], credential=accounts, options=options, additional_data=False)
    try:
        taken = server.received(unarmored(initial[0]) if initial else None)
        while True:
            answer = taken if isinstance(taken, Answer) else server.answer(await ss.respond(server.machine, taken))
            if not answer.is_challenge:
                break
            await lines.write("+", armored(answer.data or b""))
            taken = server.received(unarmored((await lines.read())[0]))
    except ss.HandshakeError as refused:
        await lines.write("NO", refused.kind.sspi)
        return
    await lines.write("OK")
    async with SaslStream(stream, server.established, received=lines.rest) as secure:
        print("the server sees", secure.extra(ss.SecurityAttribute.peer), "by", name)
        async for data in secure:
            await secure.send(data)


async def log_on(stream: SocketStream, credential: ss.Credential) -> SaslStream:
    """The client's exchange, and the stream behind it."""
    lines, options = Lines(stream), ss.system_options()
    _, *names = await lines.read()
    client = SaslClient(choose(names, credential, options, MECHANISMS), credential=credential, options=options)
    initial = client.response(await ss.respond(client.machine))
    await lines.write("AUTH", client.name, *([] if initial is None else [armored(initial)]))
    while (words := await lines.read())[0] == "+":
        step = await ss.respond(client.machine, client.challenged(unarmored(words[1])))
        await lines.write(armored(client.response(step) or b""))
    if words[0] != "OK":
        client.refused(words[-1])
    client.succeeded()
    return SaslStream(stream, client.established, received=lines.rest)


async def serve(stream: SocketStream) -> None:
    """Serve one client, and close its connection; what a client sends ends nobody else's."""
    async with stream:
        try:
            await serve_one(stream)
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.BrokenResourceError):
            print("a client left")
        except (LookupError, ValueError, ss.SecureStreamError) as error:  # no line, no mechanism or no base64 of ours
            print("a client is not served:", type(error).__name__)


async def ask(port: int, password: str) -> None:
    """Log on as alice, and say something."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        secure = await log_on(stream, ss.Password("alice", password))
        await secure.send(b"hello")
        print("the echo is", await secure.receive(), "with", secure.extra(ss.SecurityAttribute.protection).name)
        await secure.aclose()


async def main() -> None:
    """Run both ends."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port: int = listener.extra(SocketAttribute.local_port)
        await ask(port, "correct horse")
        try:
            await ask(port, "wrong")
        except ss.PeerRefused as refused:
            print(refused)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["asyncio"], ["trio"]):
        sys.exit(__doc__)
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
