"""Which servers of a realm are asked, in what order: configuration, else SRV records, never TXT (RFC 4120 7.2.3)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
import anyio.to_thread

from securestream.errors import NoAuthority, NoAuthorityKnown
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.krb5.config import KdcAddress, RealmConfig

KPASSWD_PORT: Final = 464
_LOOKUP_SECONDS: Final = 3.0
_MOST_SERVERS: Final = 16
"""Of one realm that are asked."""


@dataclass(frozen=True)
class Servers:
    """Where to ask.

    Args:
        addresses: in order.
        anchors: PEM files for HTTPS proxies; empty: the system's.
    """

    addresses: tuple[KdcAddress, ...]
    anchors: tuple[str, ...] = ()


async def servers_of(request: KdcRequest) -> Servers:
    """The servers of the realm that a request is for.

    Raises:
        NoAuthorityKnown: nobody configured the realm, and DNS is not asked, or says that it has no such servers.
        NoAuthority: none is known of a realm that is configured, or DNS did not answer.
    """
    realm = request.config.realms.get(request.realm)
    configured = _configured(realm, request.service) if realm is not None else ()
    if configured:
        return Servers(configured[:_MOST_SERVERS], () if realm is None else realm.http_anchors)
    what = "KDC" if request.service is KdcService.KDC else "password server"
    if not request.config.dns_lookup_kdc:
        raise _unknown(
            request, f"no {what} of {request.realm} is configured; name one in [realms] of krb5.conf, or by kdc="
        )
    found = await _looked_up(request, what)
    if not found:
        raise _unknown(
            request,
            f"no {what} of {request.realm} is configured, and DNS knows none; name one in [realms] of krb5.conf, or "
            "by kdc=",
        )
    return Servers(found)


def _unknown(request: KdcRequest, sentence: str) -> NoAuthority:
    """The error where nobody is known who could be asked; a realm that is configured is no unknown one for that."""
    configured = request.config.configured_realm(request.realm)
    if not configured:
        return NoAuthorityKnown(sentence)
    if configured != request.realm:
        sentence += f"; {configured} is configured: is that the realm, and users are to be written name@{configured}?"
    return NoAuthority(sentence)


def _configured(realm: RealmConfig, service: KdcService) -> tuple[KdcAddress, ...]:
    if service is KdcService.KDC:
        return realm.kdcs
    if realm.kpasswd_servers:
        return realm.kpasswd_servers
    return tuple(
        address if address.transport == "https" else replace(address, port=KPASSWD_PORT) for address in realm.kdcs
    )


async def _looked_up(request: KdcRequest, what: str) -> tuple[KdcAddress, ...]:
    try:
        resolver = importlib.import_module("dns.resolver")
    except ImportError:
        raise _unknown(
            request,
            f"no {what} of {request.realm} is configured; name one in [realms] of krb5.conf, or by kdc=, or install "
            "securestream[dns] to find it by SRV records",
        ) from None
    service = "_kerberos" if request.service is KdcService.KDC else "_kpasswd"
    found: list[KdcAddress] = []
    failure: _Unanswered | None = None
    for transport in ("udp", "tcp"):
        name = f"{service}._{transport}.{request.realm.rstrip('.')}."
        try:
            answers = await anyio.to_thread.run_sync(_srv_records, resolver, name, abandon_on_cancel=True)
        except _Unanswered as problem:
            failure = problem
            continue
        for host, port in answers[:_MOST_SERVERS]:
            found.append(KdcAddress(host, port, transport))
    if failure is not None and not found:  # whoever keeps DNS from answering must not make a realm an unknown one
        raise NoAuthority(
            f"no {what} of {request.realm} is configured, and DNS did not answer about it ({failure}); check the name "
            "servers, or name a KDC in [realms] of krb5.conf, or by kdc="
        ) from failure
    return tuple(found)


class _Unanswered(Exception):
    """DNS says neither which servers there are nor that there are none."""


def _srv_records(resolver: Any, name: str) -> list[tuple[str, int]]:
    """Hosts and ports of a name's SRV records, by priority, the heavier ones first (RFC 2782).

    Raises:
        _Unanswered: there was no answer; "no such name" is one.
    """
    try:
        answer = resolver.resolve(name, "SRV", lifetime=_LOOKUP_SECONDS)
    except Exception as problem:  # dnspython has a family of its own: no such name, no answer, no name server
        if not type(problem).__module__.startswith("dns."):
            raise
        if isinstance(problem, (resolver.NXDOMAIN, resolver.NoAnswer)):  # the name, or its records, do not exist
            return []
        raise _Unanswered(type(problem).__name__) from problem
    ordered = sorted(answer, key=lambda record: (record.priority, -record.weight))
    hosts = [(record.target.to_text(omit_final_dot=True), int(record.port)) for record in ordered]
    return [(host, port) for host, port in hosts if host]  # a lone dot: decidedly not available
