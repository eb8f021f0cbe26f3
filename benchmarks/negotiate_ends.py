"""Our ends of a NegotiateStream that Negotiate sets up: which mechanism it comes to use, and on which event loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from benchmarks import pairs
from benchmarks.ends import Job
from benchmarks.stream_ends import KERBEROS, ours_stream


def negotiated_kerberos(job: Job, backend: str) -> None:
    """Kerberos in SPNEGO, aes256-sha1, everything encrypted and signed."""
    from securestream.credentials import CredentialCache, Keytab

    cache, keytab, service = os.environ[KERBEROS].split(os.pathsep)
    client = {"package": "negotiate", "credential": CredentialCache(f"FILE:{cache}")}
    server = {"package": "negotiate", "credential": Keytab(keytab)}
    ours_stream(job, backend, client, server, service)


def negotiated_ntlm(job: Job, backend: str) -> None:
    """NTLM in SPNEGO, everything encrypted and signed."""
    from securestream.credentials import Accounts, Password
    from securestream_providers.negotiate import Negotiate

    package = Negotiate(pairs.ntlm_package())
    client = {"package": package, "credential": Password(pairs.USER, pairs.PASSWORD)}
    server = {"package": package, "credential": Accounts.memory(**{pairs.USER: pairs.PASSWORD})}
    ours_stream(job, backend, client, server)


NEGOTIATE: dict[str, Callable[[Job], None]] = {
    "ours, Kerberos, asyncio": partial(negotiated_kerberos, backend="asyncio"),
    "ours, Kerberos, trio": partial(negotiated_kerberos, backend="trio"),
    "ours, NTLM, asyncio": partial(negotiated_ntlm, backend="asyncio"),
    "ours, NTLM, trio": partial(negotiated_ntlm, backend="trio"),
}
