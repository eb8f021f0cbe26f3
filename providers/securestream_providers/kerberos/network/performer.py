"""Performs `KdcRequest`: one request, one reply, by whatever server and transport answers first."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio

from securestream.drive import Performer
from securestream.errors import MalformedMessage, NoAuthority
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.kerberos.network.last_answers import LastAnswer, LastAnswers
from securestream_providers.kerberos.network.race import Attempt, first_answer
from securestream_providers.kerberos.network.servers import Servers, servers_of
from securestream_providers.kerberos.network.transports import (
    NoAnswer,
    ask_https,
    ask_tcp,
    ask_udp,
    tls_context,
)
from securestream_providers.krb5.config import KdcAddress
from securestream_providers.krb5.kkdcp import PATH
from securestream_providers.krb5.messages import KrbError
from securestream_providers.krb5.numbers import ErrorCode

LONGEST_WAIT: Final = 30.0
"""Seconds after which nobody is waited for any longer, however many servers there are."""

_PATIENCE: Final = 10.0
"""Seconds that the last server to be asked is given."""

_BETWEEN_ADDRESSES: Final = 0.25
"""Seconds between attempts at the addresses of one host (RFC 8305 5)."""

_MOST_ADDRESSES: Final = 8
_REPLIES: Final = frozenset((0x6B, 0x6D, 0x7E))
"""First octets of an AS-REP, a TGS-REP and a KRB-ERROR."""


class KdcPerformer(Performer):
    """Asks the servers of a realm, by UDP, TCP or HTTPS.

    Args:
        longest_wait: seconds in all for one request.
        last_answers: who answered before; by default nobody yet.
    """

    def __init__(self, longest_wait: float = LONGEST_WAIT, last_answers: LastAnswers | None = None) -> None:
        self._longest_wait = longest_wait
        self._last_answers = last_answers or LastAnswers()

    async def perform(self, effect: Any) -> bytes:
        """Ask.

        Raises:
            NoAuthority: no server of the realm is known or answers in time; `NoAuthorityKnown` as `servers_of` says.
        """
        request: KdcRequest = effect
        servers = await servers_of(request)
        groups = _groups(request, servers, self._last_answers)
        moment = request.config.kdc_timeout
        answer, failures, late = None, list[OSError](), True
        with anyio.move_on_after(min(self._longest_wait, len(groups) * moment + _PATIENCE)):
            answer, failures = await first_answer(groups, moment)
            late = False
        if answer is None:
            raise NoAuthority(_told(request, servers, failures, late=late))
        return answer

    def perform_blocking(self, effect: Any) -> bytes:
        """Ask, blocking the calling thread; in a thread of its own, since the caller may be inside an event loop."""
        outcome: list[bytes | BaseException] = []

        def run() -> None:
            try:
                outcome.append(anyio.run(self.perform, effect))
            except BaseException as problem:  # handed to the caller as it is
                outcome.append(problem)

        thread = threading.Thread(target=run, name="securestream.kdc", daemon=True)
        thread.start()
        thread.join()
        result = outcome[0]
        if isinstance(result, BaseException):
            raise result
        return result


def _told(request: KdcRequest, servers: Servers, failures: list[OSError], *, late: bool) -> str:
    hosts = ", ".join(f"{address.host}:{address.port}" for address in servers.addresses)
    what = "KDC" if request.service is KdcService.KDC else "password server"
    if late or not failures:
        return f"no {what} of {request.realm} answers in time ({hosts}); check the network, or name another server"
    reasons = "; ".join(dict.fromkeys(str(failure) for failure in failures))
    return f"no {what} of {request.realm} can be reached ({hosts}): {reasons}"


# --- what is attempted -----------------------------------------------------------------------------------------------


def _groups(request: KdcRequest, servers: Servers, last_answers: LastAnswers) -> list[list[Attempt]]:
    """Attempts in the order in which they begin. By TCP a server is asked a moment after it was asked by UDP.

    Whoever answered last is asked first, by what it answered by.
    """
    datagrams: list[Attempt | None] = []
    streams: list[Attempt | None] = []
    small = len(request.message) <= request.config.udp_preference_limit
    last = last_answers.of(request, servers.addresses)
    addresses = servers.addresses
    if last is not None:
        addresses = (last.address, *(address for address in addresses if address != last.address))

    def noting(attempt: Attempt, address: KdcAddress, *, by_stream: bool) -> Attempt:
        async def run() -> bytes:
            answer = await attempt()
            last_answers.note(request, LastAnswer(address, by_stream and small))
            return answer

        return run

    for address in addresses:
        if address.transport == "https":
            datagrams.append(None)
            streams.append(noting(partial(_by_proxy, request, address, servers.anchors), address, by_stream=False))
            continue
        by_udp = address.transport in ("any", "udp") and not request.stream
        by_tcp = address.transport in ("any", "tcp") or (request.stream and address.transport == "udp")
        datagram = noting(partial(_by_udp, request, address), address, by_stream=False)
        stream = noting(partial(_by_tcp, request, address), address, by_stream=not request.stream)
        datagrams.append(datagram if by_udp else None)
        streams.append(stream if by_tcp else None)
    datagrams_first = small and not (last is not None and last.by_stream)
    first, second = (datagrams, streams) if datagrams_first else (streams, datagrams)
    groups: list[list[Attempt]] = []
    for position in range(len(first) + 1):
        began = [] if position == len(first) else [first[position]]
        if position:
            began.append(second[position - 1])
        group = [attempt for attempt in began if attempt is not None]
        if group:
            groups.append(group)
    return groups


def _is_answer(service: KdcService, octets: bytes) -> bool:
    """Whether octets can be the answer of such a server; what is not is as if nothing had come."""
    if service is KdcService.PASSWORD and int.from_bytes(octets[:2], "big") == len(octets):
        return len(octets) > 6
    return len(octets) > 2 and octets[0] in _REPLIES


def _error_code(octets: bytes) -> int | None:
    if octets[:1] != b"\x7e":
        return None
    try:
        return KrbError.decode(octets).error_code
    except MalformedMessage:
        return None


def _checked(request: KdcRequest, octets: bytes) -> bytes:
    if not _is_answer(request.service, octets):
        raise NoAnswer("what it answers is no Kerberos message")
    if _error_code(octets) == ErrorCode.SVC_UNAVAILABLE:
        raise NoAnswer("it says that it cannot answer now")
    return octets


async def _by_udp(request: KdcRequest, address: KdcAddress) -> bytes:
    service = request.service

    async def ask(host: str) -> bytes:
        return await ask_udp(host, address.port, request.message, lambda octets: _is_answer(service, octets))

    answer = await _at_any_address(address, ask)
    if _error_code(answer) == ErrorCode.RESPONSE_TOO_BIG and address.transport != "udp":
        return await _by_tcp(request, address)
    return _checked(request, answer)


async def _by_tcp(request: KdcRequest, address: KdcAddress) -> bytes:
    async def ask(host: str) -> bytes:
        return await ask_tcp(host, address.port, request.message)

    return _checked(request, await _at_any_address(address, ask))


async def _by_proxy(request: KdcRequest, address: KdcAddress, anchors: tuple[str, ...]) -> bytes:
    context = await anyio.to_thread.run_sync(tls_context, anchors)
    answer = await ask_https(address.host, address.port, address.path or PATH, request.message, request.realm, context)
    return _checked(request, answer)


async def _at_any_address(address: KdcAddress, ask: Callable[[str], Any]) -> bytes:
    """Ask a host at each of its addresses, in turn and at last all at once.

    Raises:
        OSError: the name is unknown, or no address answers.
    """
    found = await anyio.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    hosts = list(dict.fromkeys(entry[4][0] for entry in found))[:_MOST_ADDRESSES]
    answer, failures = await first_answer([[partial(ask, host)] for host in hosts], _BETWEEN_ADDRESSES)
    if answer is None:
        raise failures[0] if failures else NoAnswer(f"{address.host} has no address")
    return answer
