"""MIT's SPNEGO through python-gssapi, over MIT's Kerberos and gss-ntlmssp; see gssapi_peer.py for the requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.interop.peers import gssapi
from tests.interop.peers import gssapi_krb5 as krb5
from tests.interop.peers.gssapi_krb5 import MUTUAL, PROTECTED, KerberosPeer

NAME = "MIT SPNEGO"


def version() -> str | None:
    """The version of MIT's library, or `None` where something of it or gss-ntlmssp is missing."""
    return krb5.version() if gssapi.version() else None


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return krb5.missing() or gssapi.missing()


class SpnegoPeer(KerberosPeer):
    """One negotiated security context at a time; tickets, keys and NTLM accounts come from the environment.

    The mechanisms of a negotiation are called "krb5" and "ntlm".
    """

    def offer(
        self,
        target: str,
        mechanisms: Sequence[str] = (),
        *,
        flags: Iterable[str] = (MUTUAL, *PROTECTED),
        bindings: bytes | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        r"""Begin as an initiator.

        Args:
            target: ``service@host``.
            mechanisms: what is offered, in this order; none: all that it has credentials for.
            flags: names of gssapi.RequirementFlag.
            bindings: application data of the channel bindings.
            user: ``DOMAIN\name``; by default what the environment has.
            password: with `user`.
        """
        self._ask(
            do="initiate",
            mechanism="spnego",
            offered=list(mechanisms),
            target=target,
            flags=list(flags),
            bindings=None if bindings is None else bindings.hex(),
            user=user,
            password=password,
        )

    def choose(self, mechanisms: Sequence[str] = (), *, bindings: bytes | None = None) -> None:
        """Begin as an acceptor that takes `mechanisms`; none: all that it has keys or accounts for."""
        self._ask(
            do="accept",
            mechanism="spnego",
            offered=list(mechanisms),
            bindings=None if bindings is None else bindings.hex(),
        )

    def begin_bare(self, mechanism: str, target: str) -> None:
        """Begin as an initiator of one mechanism without SPNEGO, with what the environment has."""
        self._ask(do="initiate", mechanism=mechanism, target=target, flags=list(PROTECTED))

    def mechanism(self) -> str:
        """The OID of the mechanism that was chosen."""
        return str(self._ask(do="inquire")["mechanism"])
