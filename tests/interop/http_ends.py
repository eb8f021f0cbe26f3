"""Our end of HTTP as a server: one uvicorn, in whose paths everything is that clients authenticate by."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import anyio

from securestream.ambient import system_options
from securestream.credentials import Accounts, Credentials, Keytab
from securestream.http.asgi import PEER, AuthenticationMiddleware, Receive, Scope, Send
from securestream.http.performing import end_point_bindings
from securestream.http.schemes import ServerScheme
from securestream.http.tokens import TokenScheme
from securestream.options import BindingPolicy, Protection
from securestream.redaction import Secret
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest import Algorithm, DigestServer, Qop
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.core.http.live import LOCALHOST, serving

USER = "alice"
PASSWORD = "correct horse"
NAMES = {USER: PASSWORD, "zoë": "pâté", 'a"b': 'q"u\\o'}
"""Accounts with their passwords: an ordinary one, one that has several encodings, and one that must be quoted."""
SHORT = timedelta(seconds=1.5)
"""How long the nonces of ``/digest-short`` are good; ``/slow`` below a path redirects when they are not."""
REALM = "the realm of this server"

QOPS: Mapping[str, tuple[Qop, ...]] = {
    "auth": (Qop.AUTH,),
    "auth-int": (Qop.AUTH_INT,),
    "auth,auth-int": (Qop.AUTH, Qop.AUTH_INT),
}
UNCOMMON_FIRST = (Algorithm.SHA_512_256, Algorithm.SHA_256, Algorithm.MD5)
COMMON_FIRST = (Algorithm.SHA_256, Algorithm.MD5)
"""Several challenges: clients that cannot do the first one are to take another."""


@dataclass(frozen=True)
class Seen:
    """What the application told the client of its request.

    Args:
        peer: the user's name.
        package: by which package.
        content: octets of the request's content.
    """

    peer: str
    package: str
    content: int

    @classmethod
    def parse(cls, body: bytes | str) -> Seen:
        return cls(**json.loads(body))


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"].endswith("/slow"):
        await anyio.sleep(2 * SHORT.total_seconds())
        await send({"type": "http.response.start", "status": 307, "headers": [(b"location", b"quick")]})
        await send({"type": "http.response.body", "body": b""})
        return
    content, more = 0, True
    while more:
        message = await receive()
        content += len(message.get("body", b""))
        more = message.get("more_body", False)
    peer = scope[PEER]
    told = {"peer": peer.name, "package": peer.package, "content": content}
    body = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def digest_path(algorithms: Sequence[Algorithm], qops: str = "auth", *, userhash: bool = False) -> str:
    """The path under which a Digest server with these settings is."""
    return "/digest-" + "+".join(one.token for one in algorithms) + f"-{qops}" + ("-userhash" if userhash else "")


class Sites:
    """An ASGI application: the first part of a path names what is offered there.

    Args:
        keytab: the service's keys, or `None` for no Kerberos.
        kerberos: the package.
    """

    def __init__(self, keytab: Keytab | None = None, kerberos: Kerberos | None = None) -> None:
        store = MemoryAccounts(throttle=None)
        for name, password in NAMES.items():
            store.add(name, password)
        self._accounts = Accounts(store)
        self._sites: dict[str, AuthenticationMiddleware] = {}
        ntlm = TokenScheme("NTLM", Ntlm(oem="cp850", mic="optional"), self._accounts)
        self._add("/ntlm", [ntlm])
        self._add("/bound-ntlm", [ntlm], policy=BindingPolicy.ALWAYS)
        if keytab is None or kerberos is None:
            forms, package = Credentials(self._accounts), Negotiate(Ntlm(), ntlm="always")
        else:
            forms, package = Credentials(keytab, self._accounts), Negotiate(kerberos, Ntlm(), ntlm="always")
        negotiate = TokenScheme("Negotiate", package, forms)
        self._add("/negotiate", [negotiate])
        self._add("/bound", [negotiate], policy=BindingPolicy.ALWAYS)
        self._proxies = {
            "negotiate": self._made([negotiate], proxy=True),
            "ntlm": self._made([ntlm], proxy=True),
            "digest": self._made([DigestServer(self._accounts, REALM)], proxy=True),
        }
        self._add("/all", [negotiate, ntlm, DigestServer(self._accounts, REALM)])
        for algorithm in Algorithm:
            for qops in QOPS:
                for userhash in (False, True):
                    self._digest((algorithm,), qops, userhash=userhash)
        self._digest(COMMON_FIRST, "auth")
        self._digest(UNCOMMON_FIRST, "auth")
        digest = [DigestServer(self._accounts, REALM, served=["localhost"])]
        self._add("/digest-marked", digest)
        self._add("/bound-digest", digest, policy=BindingPolicy.ALWAYS)
        self._add(
            "/digest-short", [DigestServer(self._accounts, REALM, algorithms=(Algorithm.SHA_256,), lifetime=SHORT)]
        )

    def _digest(self, algorithms: Sequence[Algorithm], qops: str, *, userhash: bool = False) -> None:
        server = DigestServer(
            self._accounts, REALM, algorithms=algorithms, qops=QOPS[qops], userhash=userhash, key=Secret(bytes(32))
        )
        self._add(digest_path(algorithms, qops, userhash=userhash), [server])

    def _add(
        self, path: str, schemes: Sequence[ServerScheme], *, policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED
    ) -> None:
        self._sites[path] = self._made(schemes, policy=policy)

    def _made(
        self,
        schemes: Sequence[ServerScheme],
        *,
        policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED,
        proxy: bool = False,
    ) -> AuthenticationMiddleware:
        bindings = end_point_bindings(LOCALHOST.der)
        return AuthenticationMiddleware(
            _application,
            schemes,
            options=system_options(protection=Protection.NONE, binding_policy=policy),
            bindings=lambda scope: bindings if scope["scheme"] == "https" else None,
            proxy=proxy,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request where its path says; of a proxy's requests the host does."""
        path = str(scope["path"])
        proxied = path.removeprefix("http://")
        site = self._sites["/" + path.split("/")[1]] if proxied == path else self._proxies[proxied.partition(".")[0]]
        await site(scope, receive, send)


@contextlib.contextmanager
def both(sites: Sites) -> Generator[Mapping[str, str]]:
    """The origins of two servers, by ``http`` and ``https``."""
    with serving(sites) as clear, serving(sites, tls=LOCALHOST) as tls:
        yield {"http": clear, "https": tls}
