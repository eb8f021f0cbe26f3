"""Our ends of a NegotiateStream that Negotiate sets up: with which mechanism, and who waits for the socket."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from benchmarks import pairs
from benchmarks.ends import Job, work_blocking
from benchmarks.stream_ends import KERBEROS, blocking_socket, ours_stream


class Told(NamedTuple):
    """What the two ends are told, and the name of the service."""

    client: dict[str, Any]
    server: dict[str, Any]
    target: str


def kerberos() -> Told:
    """Kerberos in SPNEGO, aes256-sha1, everything encrypted and signed."""
    from securestream.credentials import CredentialCache, Keytab

    cache, keytab, service = os.environ[KERBEROS].split(os.pathsep)
    client = {"package": "negotiate", "credential": CredentialCache(f"FILE:{cache}")}
    return Told(client, {"package": "negotiate", "credential": Keytab(keytab)}, service)


def ntlm() -> Told:
    """NTLM in SPNEGO, everything encrypted and signed."""
    from securestream.credentials import Accounts, Password
    from securestream_providers.negotiate import Negotiate

    package = Negotiate(pairs.ntlm_package())
    client = {"package": package, "credential": Password(pairs.USER, pairs.PASSWORD)}
    server = {"package": package, "credential": Accounts.memory(**{pairs.USER: pairs.PASSWORD})}
    return Told(client, server, f"host/{pairs.HOST}")


def on_loop(job: Job, mechanism: Callable[[], Told], backend: str) -> None:
    """A stream on an event loop."""
    told = mechanism()
    ours_stream(job, backend, told.client, told.server, told.target)


def blocking(job: Job, mechanism: Callable[[], Told]) -> None:
    """A `SecureSocket`."""
    from securestream.blocking import SecureSocket

    told, plain = mechanism(), blocking_socket(job)
    if job.client:
        secure = SecureSocket.wrap_client(plain, target=told.target, **told.client)
    else:
        secure = SecureSocket.wrap_server(plain, **told.server)
    work_blocking(job, secure.sendall, lambda: len(secure.recv()))


NEGOTIATE: dict[str, Callable[[Job], None]] = {
    "ours, asyncio, Kerberos": partial(on_loop, mechanism=kerberos, backend="asyncio"),
    "ours, trio, Kerberos": partial(on_loop, mechanism=kerberos, backend="trio"),
    "ours, blocking, Kerberos": partial(blocking, mechanism=kerberos),
    "ours, asyncio, NTLM": partial(on_loop, mechanism=ntlm, backend="asyncio"),
    "ours, trio, NTLM": partial(on_loop, mechanism=ntlm, backend="trio"),
    "ours, blocking, NTLM": partial(blocking, mechanism=ntlm),
}
