"""Starts winbind's helper for programs that have no NTLM and no Kerberos of their own, ``ntlm_auth``, in a domain."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.interop.peers.foreign import Refused
from tests.interop.peers.samba_ad import NETBIOS, REALM, SambaDomain

NAME: Final = "ntlm_auth"
FEATURES: Final = "NTLMSSP_FEATURE_SESSION_KEY NTLMSSP_FEATURE_SIGN NTLMSSP_FEATURE_SEAL"


class HelperPeer:
    """One security context of the helper, which gives a session key but protects no data.

    Args:
        domain: where it runs.
        user: whom it is to log on to `service` (``service/host``); an acceptor without.
        password: the user's.
        service: the name.
        cache: the user's tickets, by which it uses Kerberos; NTLM without.
    """

    def __init__(
        self,
        domain: SambaDomain,
        user: str | None = None,
        password: str = "",
        service: str = "",
        *,
        cache: Path | None = None,
    ) -> None:
        program = ["ntlm_auth", f"--configfile={domain.configuration}"]
        if user is None:
            program += ["--helper-protocol=gss-spnego"]
        else:
            kind, _, host = service.partition("/")
            program += ["--helper-protocol=gss-spnego-client", f"--username={user}", f"--password={password}"]
            program += [
                f"--domain={REALM if cache else NETBIOS}",
                f"--target-service={kind}",
                f"--target-hostname={host}",
            ]
        self._process = subprocess.Popen(
            domain.inside(*program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "KRB5_CONFIG": str(domain.krb5_config),
                "KRB5CCNAME": f"FILE:{cache}" if cache else "MEMORY:none",
            },
        )
        self._initiates = user is not None
        self._began = False
        self.complete = False
        self.user = ""
        """Who initiated, as the acceptor says."""

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        self._ask(f"SF {FEATURES}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        if not answer or answer[0] in ("BH", "NA"):
            raise Refused(" ".join(answer) or "the helper ended")
        return answer

    def step(self, token: bytes | None) -> bytes | None:
        """Take the other end's token (`None` at an initiator's start), give the next one if there is one."""
        verb = "TT" if self._initiates else "KK"
        if not self._began:
            verb, self._began = "YR", True
        code, *rest = self._ask(verb if token is None else f"{verb} {base64.b64encode(token).decode()}")
        self.complete = code == "AF"
        if self.complete and not self._initiates:
            self.user = rest[-1]
        return base64.b64decode(rest[0]) if rest and rest[0] != "*" else None

    def session_key(self) -> bytes:
        """The key of the context."""
        return base64.b64decode(self._ask("GK")[1])
