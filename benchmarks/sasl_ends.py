"""SaslStream between two processes on loopback: the layers of GSSAPI, GSS-SPNEGO and DIGEST-MD5."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio
import anyio.abc

from benchmarks import pairs, streams
from benchmarks.ends import WRITE, Job, announce, work
from benchmarks.measure import Effort, Section, Series, plain
from benchmarks.negotiate_ends import Told
from benchmarks.negotiate_ends import kerberos as told_kerberos
from benchmarks.stream_ends import KERBEROS
from securestream.provider import Established, TargetName
from securestream.sasl import SaslMechanism

_LENGTH: Final = 4
LARGE_BUFFER: Final = 1 << 20
"""Octets of the longest sealed buffer that an end takes."""


async def _exchange(stream: Any, job: Job, told: Told) -> tuple[Established, bytes]:
    """The exchange, each token behind its length in four octets; its outcome, and what came behind it."""
    from securestream.ambient import system_options
    from securestream.drive import respond
    from securestream.machine import HandshakeMachine

    waiting = b""

    async def hear() -> bytes:
        nonlocal waiting
        while len(waiting) < _LENGTH or len(waiting) < _LENGTH + int.from_bytes(waiting[:_LENGTH], "big"):
            waiting += await stream.receive()
        size = _LENGTH + int.from_bytes(waiting[:_LENGTH], "big")
        token, waiting = waiting[_LENGTH:size], waiting[size:]
        return token

    options, own = system_options(), told.client if job.client else told.server
    mechanism: SaslMechanism = own["package"]
    credential = own["credential"]
    if job.client:
        machine = HandshakeMachine(mechanism.initiate(credential, TargetName(told.target), options))
        step = await respond(machine)
    else:
        machine = HandshakeMachine(mechanism.accept(credential, options))
        await respond(machine)
        step = await respond(machine, await hear())
    while True:
        if step.token is not None:
            await stream.send(len(step.token).to_bytes(_LENGTH, "big") + step.token)
        if step.established is not None:
            return step.established, waiting
        step = await respond(machine, await hear())


def run(job: Job, mechanism: Callable[[], Told], backend: str) -> None:
    """One end."""
    from securestream.streams._dial import connect_tcp
    from securestream.streams.sasl import SaslStream
    from securestream.streams.transport import TcpStream, listen_tcp

    told = mechanism()

    async def main() -> None:
        if job.client:
            stream: Any = await connect_tcp("127.0.0.1", job.port)
        else:
            (listener,) = await listen_tcp("127.0.0.1", 0)
            announce(listener.extra(anyio.abc.SocketAttribute.local_port))
            accepted: TcpStream = await listener.accept()
            stream = accepted
        established, rest = await _exchange(stream, job, told)
        secure = SaslStream(stream, established, received=rest)
        await work(job, secure.send, secure.receive)

    anyio.run(main, backend=backend)


def gssapi() -> Told:
    """GSSAPI with Kerberos, aes256-sha1, buffers of the largest size."""
    from securestream.sasl import Gssapi
    from securestream_providers.kerberos import Kerberos

    its = told_kerberos()
    mechanism = Gssapi(Kerberos(), max_buffer=LARGE_BUFFER)
    return Told(its.client | {"package": mechanism}, its.server | {"package": mechanism}, its.target)


def _of_password(mechanism: SaslMechanism, target: str) -> Told:
    from securestream.credentials import Accounts, Password

    client = {"package": mechanism, "credential": Password(pairs.USER, pairs.PASSWORD)}
    accounts = Accounts.memory(**{pairs.USER: pairs.PASSWORD})
    return Told(client, {"package": mechanism, "credential": accounts}, target)


def gss_spnego() -> Told:
    """GSS-SPNEGO with NTLM."""
    from securestream.sasl import GssSpnego
    from securestream_providers.negotiate import Negotiate

    return _of_password(GssSpnego(Negotiate(pairs.ntlm_package())), f"host/{pairs.HOST}")


def digest_md5() -> Told:
    """DIGEST-MD5 with RC4."""
    from securestream_providers.digest.sasl import DigestMd5
    from securestream_providers.digest.sasl_crypto import Cipher

    target = f"host/{pairs.HOST}"
    mechanism = DigestMd5(realms=[pairs.HOST], services=[target], ciphers=[Cipher.RC4], max_buffer=LARGE_BUFFER)
    return _of_password(mechanism, target)


SASL: dict[str, Callable[[Job], None]] = {
    f"{name}, {backend}": partial(run, mechanism=mechanism, backend=backend)
    for name, mechanism in (
        ("GSSAPI, Kerberos", gssapi),
        ("GSS-SPNEGO, NTLM", gss_spnego),
        ("DIGEST-MD5, rc4", digest_md5),
    )
    for backend in ("asyncio", "trio")
}


def bulk(effort: Effort) -> Section:
    """The rows of bulk transfer."""
    amount = effort.megabytes * 1_000_000 // WRITE * WRITE
    kinds = [kind for kind in SASL if KERBEROS in streams.environment() or not kind.startswith("GSSAPI")]
    found = streams.measure_all(kinds, "bulk", amount, max(3, effort.rounds // 2))
    section = Section(
        "SaslStream on loopback: two processes, sealed, writes of 64 KiB",
        ("", "CPU s/GB, sender", "CPU s/GB, receiver", "MB/s by the busier end", "MB/s seen"),
        notes=["The layers seal what the mechanisms' contexts seal for NegotiateStream; see there for the peers."],
    )
    for kind, (wall, sender, receiver) in found.items():
        busier = streams.busier_end(sender, receiver)
        speeds = [Series([amount / 1e6 / value for value in series.figures]) for series in (busier, wall)]
        cpu = [plain(series, 1e9 / amount) for series in (sender, receiver)]
        section.rows.append((kind, *cpu, *map(plain, speeds)))
    return section
