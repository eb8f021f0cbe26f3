"""Kerberos: sealing and unsealing beside MIT krb5 through python-gssapi, and beside the limit of the library."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

from benchmarks.kerberos_realm import mit
from benchmarks.measure import OURS, Effort, Section, Series, Target, Timed, compare, cpu_loop, micro, ratio
from benchmarks.ntlm import LIMIT, SIZES, unsealing
from benchmarks.peers import GssPeer
from securestream.options import ContextFlags, Role
from securestream.provider import SecurityContext
from securestream_providers.kerberos.context import KerberosContext, Keys, Session
from securestream_providers.krb5.keys import random_key

OBJECTS: Final = "python-gssapi"
RAW: Final = "python-gssapi, raw calls"
ETYPES: Final = {18: "aes256-sha1", 20: "aes256-sha384"}
HASHES: Final[dict[int, HashAlgorithm]] = {18: SHA1(), 20: SHA384()}
_ACHIEVED: Final = {"seal": "sealing", "unseal": "unsealing"}
_FLAGS: Final = ContextFlags.CONFIDENTIALITY | ContextFlags.INTEGRITY | ContextFlags.REPLAY | ContextFlags.SEQUENCE


def _limit(etype: int, what: str, size: int) -> Timed:
    """AES-CBC and HMAC as `cryptography` has them, on one buffer that is there already, and nothing around them."""
    keyed = HMAC(bytes(32), HASHES[etype])
    cipher = Cipher(AES(bytes(32)), CBC(bytes(16)))
    crypt: Any = cipher.encryptor() if what == "seal" else cipher.decryptor()
    padded = -(-size // 16) * 16
    data, buffer = bytes(padded), bytearray(padded + 16)

    def once() -> None:
        mac = keyed.copy()
        mac.update(data)
        mac.finalize()
        crypt.update_into(data, buffer)

    return cpu_loop(once)


def limit_of_sealing(etype: int, what: str, size: int, effort: Effort) -> Series:
    """Seconds in which nobody seals (unseals) a message of that size faster with `cryptography`."""
    return compare({LIMIT: _limit(etype, what, size)}, effort)[LIMIT]


def contexts(etype: int) -> tuple[SecurityContext, SecurityContext]:
    """Our two ends of a session that lasts for hours, as after a handshake."""
    key, until = random_key(etype, os.urandom), datetime.now(UTC) + timedelta(hours=10)

    def end(role: Role) -> SecurityContext:
        session = Session(role, _FLAGS, Keys(key), 1, 1, until)
        return KerberosContext(session, lambda: datetime.now(UTC), os.urandom)

    return end(Role.INITIATOR), end(Role.ACCEPTOR)


def _mit(peer: GssPeer, do: str, what: str, size: int) -> Timed:
    batch = max(1, min(1000, (16 << 20) // size))

    def timed(times: int) -> float:
        taken = 0.0
        while times > 0:
            count = min(times, batch)
            times -= count
            taken += peer.ask(do=do, size=size, times=count)[what]
        return taken

    return timed


def _contenders(etype: int, what: str, size: int) -> dict[str, Timed]:
    data = bytes(size)
    client, server = contexts(etype)
    contenders: dict[str, Timed] = {LIMIT: _limit(etype, what, size)}
    if what == "seal":
        wrap: Callable[[bytes], bytes] = client.wrap
        contenders[OURS] = cpu_loop(lambda: wrap(data))
    else:
        contenders[OURS] = unsealing(client.wrap, server.unwrap, size)
    if (peer := mit(etype)) is not None:
        contenders[OBJECTS] = _mit(peer, "seal", what, size)
        contenders[RAW] = _mit(peer, "seal raw", what, size)
    return contenders


def _targets(etype: int, what: str, label: str, reached: dict[str, float | None]) -> list[Target]:
    """What PERFORMANCE.md demands of one row."""
    row = f"{ETYPES[etype]}, {_ACHIEVED[what]}, {label}"
    if etype == 20:
        wanted = 4.0 if SIZES[label] <= 1024 else 3.0
        return [Target(f"{row}, beside {OBJECTS}", wanted, reached[OBJECTS])]
    targets = [
        Target(f"{row}, beside {OBJECTS}", 4.0 if what == "seal" else 3.5, reached[OBJECTS]),
        Target(f"{row}, beside its raw calls", 1.1, reached[RAW]),
    ]
    limit = reached[LIMIT]
    if label == "1 MiB" and limit is not None:
        targets.append(Target(f"{row}, part of the limit", 95, limit * 100, unit=" %"))
    return targets


def sealing(effort: Effort) -> Section:
    """The rows of sealing and unsealing."""
    section = Section(
        "Kerberos: sealing and unsealing, CPU µs a message",
        ("", "", "octets", OURS, OBJECTS, RAW, LIMIT, f"× {OBJECTS}", "× raw calls", "part of the limit"),
        notes=[
            "The limit is AES-CBC and HMAC of `cryptography`, called on octets and a buffer that are there already."
        ],
    )
    for etype, name in ETYPES.items():
        for what in ("seal", "unseal"):
            for label, size in SIZES.items():
                series = compare(_contenders(etype, what, size), effort)
                reached = {other: ratio(series, other, OURS) for other in (OBJECTS, RAW, LIMIT)}
                limit = reached[LIMIT]
                section.rows.append(
                    (
                        *(name, what, label),
                        *(micro(series.get(other)) for other in (OURS, OBJECTS, RAW, LIMIT)),
                        *("–" if value is None else f"{value:.1f}" for value in (reached[OBJECTS], reached[RAW])),
                        "–" if limit is None else f"{limit * 100:.0f} %",
                    )
                )
                section.targets += _targets(etype, what, label, reached)
    return section
