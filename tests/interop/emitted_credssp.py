"""What our ends say in CredSSP: TLS with a key log, TSRequests inside; and X.224 before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from examples.rdp_nla import Protocols, Request, choose
from securestream.credentials import Credential, Credentials, Password
from securestream.errors import SecureStreamError
from securestream.provider import SecurityPackage
from securestream.records.settings import Version
from securestream.redaction import Secret
from securestream.streams.credssp import CredSspStream
from securestream_providers.credssp import CredSsp, Delegation, PackageCredential, RemoteGuard, SmartCard
from securestream_providers.credssp.policy import NEWEST, Use
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.interop.emitted import PASSWORD, SERVICE, Emitted, Messages, Recording
from tests.streams.pairs import AUTHORITY, both, tcp_pair

PORT: Final = 4389
X224_PORT: Final = 3389
"""Where tshark 4.0 expects X.224, and no TLS after it."""
OWN: Final = AUTHORITY.leaf([SERVICE.partition("/")[2]])
ALICE: Final = Password("alice", PASSWORD)
CARD: Final = SmartCard(Secret("12345678"), card_name="a card", reader_name="a reader", user_hint="alice")
GUARD: Final = RemoteGuard(
    PackageCredential("Kerberos", Secret(b"a logon")), (PackageCredential("NTLM", Secret(b"another one")),)
)


def _shown(text: str) -> list[str]:
    """A text as the decoder shows it."""
    return [text.encode("utf-16-le").hex(":")]


_ALICE: Final = {"userName": _shown("alice"), "password": _shown(PASSWORD)}
DELEGATED: Final[dict[str, dict[str, list[str]]]] = {
    "CredSSP: Kerberos": _ALICE,
    "CredSSP: Negotiate, Kerberos": _ALICE,
    "CredSSP: smart card": {
        "pin": _shown("12345678"),
        "keySpec": ["1"],
        "cardName": _shown("a card"),
        "readerName": _shown("a reader"),
        "userHint": _shown("alice"),
    },
    "CredSSP: remote guard": {
        "packageName": ["Kerberos", "NTLM"],
        "credBuffer": [b"a logon".hex(":"), b"another one".hex(":")],
    },
}
"""By kind: what the decoder, which opens Kerberos alone, must find delegated."""


async def emit(
    emitted: Emitted,
    label: str,
    negotiation: SecurityPackage,
    credential: Credential = ALICE,
    *,
    version: int = NEWEST,
    tls: Version = "TLSv1.3",
    early: bool = False,
) -> Path:
    """A logon, or its failure; gives the file that has the secrets of TLS."""
    messages: Messages = []
    log = emitted.folder / f"{label}.keys"
    one, other = await tcp_pair()
    near, far = Recording(one, messages, to_server=True), Recording(other, messages, to_server=False)
    old: Use = "accepted" if version < 5 else "refused"
    package = CredSsp(
        negotiation,
        Schannel(trust=[AUTHORITY.pem], key_log=log, maximum_version=tls),
        delegation=Delegation(SERVICE),
        version=version,
        vulnerable_peers=old,
        early_authorization=early,
    )
    accepted = Credentials(OWN.credential, emitted.keytab(), emitted.accounts)

    async def connect() -> None:
        await _leave(
            lambda: CredSspStream.wrap_client(
                near, package=package, credential=credential, target=SERVICE, services=emitted.services
            )
        )

    async def accept() -> None:
        await _leave(
            lambda: CredSspStream.wrap_server(far, package=package, credential=accepted, services=emitted.services)
        )

    with emitted.labelled(f"{label}: KDC"):
        await both(connect, accept)
    emitted.capture.stream(label, PORT, messages)
    return log


async def _leave(wrap: Callable[[], Awaitable[CredSspStream]]) -> None:
    """Close what was established; a refusal is what some are emitted for."""
    try:
        stream = await wrap()
    except SecureStreamError:
        return
    await stream.aclose()


async def everything(emitted: Emitted) -> list[Path]:
    """Emit every kind; gives the key logs."""
    request = Request(Protocols.TLS | Protocols.HYBRID, restricted_admin=True, cookie="mstshash=alice")
    answer, _ = choose(request, Protocols.HYBRID)
    emitted.capture.stream("X.224", X224_PORT, [(True, request.encode()), (False, answer)])
    ntlm, kerberos = Ntlm(), emitted.kerberos()
    return [
        await emit(emitted, "CredSSP: NTLM", ntlm),
        await emit(emitted, "CredSSP: NTLM, TLS 1.2", ntlm, tls="TLSv1.2"),
        await emit(emitted, "CredSSP: NTLM, version 2", ntlm, version=2),
        await emit(emitted, "CredSSP: NTLM, refused", ntlm, Password("alice", "wrong")),
        await emit(emitted, "CredSSP: Negotiate, NTLM", Negotiate(ntlm)),
        await emit(emitted, "CredSSP: Kerberos", kerberos),
        await emit(emitted, "CredSSP: Negotiate, Kerberos", Negotiate(kerberos, ntlm), early=True),
        await emit(emitted, "CredSSP: smart card", kerberos, Credentials(ALICE, CARD)),
        await emit(emitted, "CredSSP: remote guard", kerberos, Credentials(ALICE, GUARD)),
    ]
