"""Starts Samba's GENSEC, in the network of a domain, in a process of its own; see gensec_peer.py for the requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

from tests.interop.peers.foreign import Refused
from tests.interop.peers.places import SYSTEM_PYTHON
from tests.interop.peers.process import Event, JsonPeer
from tests.interop.peers.samba_ad import REALM, SambaDomain

NAME: Final = "GENSEC"
PROGRAM: Final = Path(__file__).with_name("gensec_peer.py")
SPNEGO: Final = "spnego"

Feature: TypeAlias = Literal["sign", "seal", "dce style"]
KerberosUse: TypeAlias = Literal["MUST_USE_KERBEROS", "AUTO_USE_KERBEROS", "DONT_USE_KERBEROS"]
SEALED: Final[tuple[Feature, ...]] = ("sign", "seal")


class GensecPeer:
    """One security context at a time, with the accounts and keys of a domain controller.

    Args:
        domain: where it runs.
    """

    def __init__(self, domain: SambaDomain) -> None:
        command = [str(SYSTEM_PYTHON), "-I", str(PROGRAM), str(domain.configuration)]
        environment = {"KRB5_CONFIG": str(domain.krb5_config), "KRB5CCNAME": "MEMORY:gensec"}
        self._process = domain.run(JsonPeer, command, environment)
        self.complete = False

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, **request: object) -> Event:
        answer = self._process.ask(request)
        if answer["event"] == "refused":
            raise Refused(str(answer["message"]))
        return answer

    def initiate(
        self,
        user: str | None,
        password: str,
        target: str,
        *,
        domain: str = "",
        kerberos: KerberosUse = "AUTO_USE_KERBEROS",
        features: Sequence[Feature] = SEALED,
        mechanism: str = SPNEGO,
    ) -> None:
        """Begin as an initiator.

        Args:
            user: its name; `None` for nobody.
            password: the password.
            target: ``service/host``.
            domain: the user's, in NTLM.
            kerberos: whether that is used.
            features: what protection is asked for.
            mechanism: GENSEC's name of it.
        """
        service, _, host = target.partition("/")
        self.complete = False
        self._ask(
            do="initiate",
            user=user,
            password=password,
            domain=domain,
            realm=None if kerberos == "DONT_USE_KERBEROS" else REALM,
            service=service,
            host=host,
            kerberos=kerberos,
            features=list(features),
            mechanism=mechanism,
        )

    def accept(self, *, features: Sequence[Feature] = SEALED, mechanism: str = SPNEGO) -> None:
        """Begin as an acceptor."""
        self.complete = False
        self._ask(do="accept", features=list(features), mechanism=mechanism)

    def step(self, token: bytes | None) -> bytes | None:
        """Take the other end's token (`None` at an initiator's start), give the next one if there is one."""
        answer = self._ask(do="step", token=(token or b"").hex())
        self.complete = bool(answer["complete"])
        return bytes.fromhex(answer["token"]) or None

    def features(self) -> tuple[str, ...]:
        """What protection there is."""
        return tuple(self._ask(do="inquire")["features"])

    def session_key(self) -> bytes:
        """The key of the context."""
        return bytes.fromhex(self._ask(do="inquire")["key"])

    def peer(self) -> str:
        """The security identifier of who initiated."""
        return str(self._ask(do="peer")["sid"])

    def wrap(self, data: bytes) -> bytes:
        """Protect."""
        return bytes.fromhex(self._ask(do="wrap", data=data.hex())["token"])

    def unwrap(self, token: bytes) -> bytes:
        """Open."""
        return bytes.fromhex(self._ask(do="unwrap", token=token.hex())["data"])

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""
        return bytes.fromhex(self._ask(do="sign", data=data.hex())["token"])

    def verify(self, data: bytes, signature: bytes) -> None:
        """Check a signature; raises `Refused`."""
        self._ask(do="verify", data=data.hex(), token=signature.hex())
