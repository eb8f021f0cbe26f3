"""Negotiating a better encryption type than the ticket's (RFC 4537)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from securestream.wire import der
from securestream_providers.krb5.messages import Int32


@dataclass(frozen=True)
class EtypeList(der.Message, wrapper=True):
    """EtypeList: what the initiator can do, the preferred first (RFC 4537 3)."""

    etypes: Annotated[tuple[Int32, ...], der.Size(0, 64)]


def offer_etypes(allowed: tuple[int, ...], own: int) -> bytes | None:
    """The list to send with a session key of type `own`; `None` where there is nothing better."""
    better = allowed[: allowed.index(own)] if own in allowed else ()
    return EtypeList((*better, own)).encode() if better else None


def choose_etype(offered: bytes | None, allowed: tuple[int, ...], own: int) -> int:
    """What an acceptor takes: the initiator's first that is allowed here, else `own`.

    Raises:
        MalformedMessage: `offered` is no list.
    """
    if offered is None:
        return own
    return next((etype for etype in EtypeList.decode(offered).etypes if etype in allowed), own)
