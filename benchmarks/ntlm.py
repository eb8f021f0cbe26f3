"""NTLM: sealing and unsealing beside pyspnego, gss-ntlmssp and the limit of the library; handshakes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.hashes import MD5
from cryptography.hazmat.primitives.hmac import HMAC

from benchmarks import pairs
from benchmarks.measure import OURS, Effort, Section, Series, Target, Timed, compare, cpu_loop, micro, ratio
from benchmarks.peers import GssPeer, gss_ntlmssp
from benchmarks.sides import asked, compare_sides, ours, pyspnego

SIZES = {"100 B": 100, "1 KiB": 1 << 10, "16 KiB": 16 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20}
LIMIT = "limit"
SPNEGO = "pyspnego"
GSS = "gss-ntlmssp, raw calls"
_ACHIEVED = {"seal": "sealing", "unseal": "unsealing"}


def _limit(size: int) -> Timed:
    """RC4 and HMAC-MD5 as `cryptography` has them, on one buffer that is there already, and nothing around them."""
    keyed = HMAC(bytes(16), MD5())
    encryptor = Cipher(ARC4(bytes(16)), mode=None).encryptor()
    data, buffer = bytes(size), bytearray(size)

    def once() -> None:
        mac = keyed.copy()
        mac.update(data)
        mac.finalize()
        encryptor.update_into(data, buffer)

    return cpu_loop(once)


def limit_of_sealing(size: int, effort: Effort) -> Series:
    """Seconds in which nobody seals a message of that size faster with `cryptography`."""
    return compare({LIMIT: _limit(size)}, effort)[LIMIT]


def unsealing(seal: Callable[[bytes], Any], unseal: Callable[[Any], Any], size: int) -> Timed:
    """Tokens are made before the clock runs; the streams of both ends stay in step."""
    data = bytes(size)
    batch = max(1, min(1000, (8 << 20) // size))

    def timed(times: int) -> float:
        taken = 0.0
        while times > 0:
            tokens = [seal(data) for _ in range(min(times, batch))]
            times -= len(tokens)
            start = time.thread_time()
            for token in tokens:
                unseal(token)
            taken += time.thread_time() - start
        return taken

    return timed


def _gss(peer: GssPeer, what: str, size: int) -> Timed:
    batch = max(1, min(1000, (16 << 20) // size))

    def timed(times: int) -> float:
        taken = 0.0
        while times > 0:
            count = min(times, batch)
            times -= count
            taken += peer.ask(do="seal", size=size, times=count)[what]
        return taken

    return timed


def _contenders(what: str, size: int) -> dict[str, Timed]:
    data = bytes(size)
    ours = pairs.ntlm_contexts()
    theirs = pairs.spnego_contexts()
    peer = gss_ntlmssp()
    contenders: dict[str, Timed] = {LIMIT: _limit(size)}
    if what == "seal":
        wrap, their_wrap = ours[0].wrap, theirs[0].wrap
        contenders[OURS] = cpu_loop(lambda: wrap(data))
        contenders[SPNEGO] = cpu_loop(lambda: their_wrap(data))
    else:
        contenders[OURS] = unsealing(ours[0].wrap, ours[1].unwrap, size)
        contenders[SPNEGO] = unsealing(lambda data: theirs[0].wrap(data).data, theirs[1].unwrap, size)
    if peer is not None:
        contenders[GSS] = _gss(peer, what, size)
    return contenders


def sealing(effort: Effort) -> Section:
    """The rows of sealing and unsealing."""
    section = Section(
        "NTLM: sealing and unsealing, CPU µs a message",
        ("", "octets", OURS, SPNEGO, GSS, LIMIT, f"× {SPNEGO}", "× gss-ntlmssp", "part of the limit"),
        notes=[
            "The limit is RC4 and HMAC-MD5 of `cryptography`, called on octets and a buffer that are there already.",
            "On small messages nobody reaches it: whoever returns a token has to make one.",
        ],
    )
    wanted = {("seal", "100 B"): 12.0, ("unseal", "100 B"): 6.0}
    for what in ("seal", "unseal"):
        for label, size in SIZES.items():
            series = compare(_contenders(what, size), effort)
            versus, gss, limit = (ratio(series, other, OURS) for other in (SPNEGO, GSS, LIMIT))
            section.rows.append(
                (
                    what,
                    label,
                    *(micro(series.get(name)) for name in (OURS, SPNEGO, GSS, LIMIT)),
                    *("–" if value is None else f"{value:.1f}" for value in (versus, gss)),
                    "–" if limit is None else f"{limit * 100:.0f} %",
                )
            )
            if (what, label) in wanted:
                section.targets.append(
                    Target(f"{_ACHIEVED[what]}, {label}, beside {SPNEGO}", wanted[what, label], versus)
                )
            if label == "1 MiB" and limit is not None:
                section.targets.append(
                    Target(f"{_ACHIEVED[what]}, {label}, part of the limit", 97, limit * 100, unit=" %")
                )
    return section


def handshakes(effort: Effort) -> Section:
    """The rows of NTLM handshakes."""
    setting = pairs.NtlmSetting()
    peer = gss_ntlmssp()

    runs = {
        OURS: ours(setting.client, setting.server, setting.services),
        SPNEGO: pyspnego(pairs.spnego_client, pairs.spnego_server),
    }
    if peer is not None:
        runs[GSS] = asked(peer, "handshake")
    series, sides = compare_sides(runs, effort)
    versus, gss_ratio = ratio(series, SPNEGO, OURS), ratio(series, GSS, OURS)
    section = Section(
        "NTLM: handshakes, CPU µs",
        ("", "initiator", "acceptor", "both"),
        notes=[
            "NTLMv2 with key exchange, MIC and session security. Credentials are made once where that is possible.",
            "pyspnego takes a name and a password for each connection, and computes an LM hash that it does not use.",
            "gss-ntlmssp's acceptor reads its file of accounts in each handshake.",
        ],
    )
    section.rows += [(name, *(micro(half) for half in sides[name]), micro(series[name])) for name in series]
    section.targets += [
        Target(f"handshake, both sides, beside {SPNEGO}", 50, versus),
        Target("handshake, both sides, beside gss-ntlmssp", 20, gss_ratio),
    ]
    return section
