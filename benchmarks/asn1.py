"""DER messages of Kerberos and SPNEGO: der.py beside pyasn1, in one run.

    python -m benchmarks.asn1 [--seconds 0.3]

Decoding by pyasn1 is what its users do: `decoder.decode(octets, asn1Spec=...)`. Encoding starts from a value that has
been built, on both sides.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from securestream.wire import der
from tests.core.wire import oracle
from tests.core.wire.samples import ALICE, AP_REP, AP_REQ, NEG_INIT, NEG_RESP, TICKET
from tests.core.wire.schemas import AsRep, EncryptedData, PaData

ROUNDS = 15
AP_REQ_TARGET = 45
"""How many times as fast as pyasn1 an AP-REQ is to be decoded."""

# The sizes of the messages that a Kerberos exchange with aes256-sha1 has: 698, 140, 778, 770 and 186 octets
AS_REP = AsRep(
    5, 11, (PaData(19, bytes(22)),), "EXAMPLE.COM", ALICE, TICKET.encode(), EncryptedData(18, None, bytes(178))
)
MESSAGES: dict[str, der.Message] = {
    "AP-REQ": replace(AP_REQ, authenticator=EncryptedData(18, None, bytes(179))),
    "AP-REP": replace(AP_REP, enc_part=EncryptedData(18, None, bytes(112))),
    "AS-REP": AS_REP,
    "NegTokenInit": NEG_INIT,
    "NegTokenResp": NEG_RESP,
}


@dataclass(frozen=True)
class Row:
    """Microseconds for one message, each the best of several rounds."""

    message: str
    octets: int
    decode: float
    encode: float
    pyasn1_decode: float
    pyasn1_encode: float


def microseconds(functions: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """The least time of one call of each, in rounds that take turns, so that a busy moment meets all of them."""
    counts: list[int] = []
    for function in functions:
        function()
        start = time.perf_counter()
        function()
        counts.append(max(1, int(seconds / ROUNDS / max(time.perf_counter() - start, 1e-6))))
    best = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for position, (function, count) in enumerate(zip(functions, counts, strict=True)):
            start = time.perf_counter()
            for _ in range(count):
                function()
            best[position] = min(best[position], (time.perf_counter() - start) / count * 1e6)
    return best


def measure(name: str, message: der.Message, seconds: float) -> Row:
    """One row; both sides are first seen to agree on the octets."""
    cls = type(message)
    spec = oracle.SPECS[cls.__name__]
    octets = message.encode()
    theirs = oracle.to_pyasn1(message, spec)
    if oracle.encoder.encode(theirs) != octets or cls.decode(octets) != message:
        raise AssertionError(f"{name}: the two encodings differ")
    decode, encode, pyasn1_decode, pyasn1_encode = microseconds(
        (
            lambda: cls.decode(octets),
            message.encode,
            lambda: oracle.decoder.decode(octets, asn1Spec=spec),
            lambda: oracle.encoder.encode(theirs),
        ),
        seconds,
    )
    return Row(name, len(octets), decode, encode, pyasn1_decode, pyasn1_encode)


def run(seconds: float = 0.3) -> list[Row]:
    """All rows."""
    return [measure(name, message, seconds) for name, message in MESSAGES.items()]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown, with the ratios that the targets speak of."""
    lines = [
        "| message | octets | decode µs | encode µs | pyasn1 decode µs | pyasn1 encode µs | decode × | encode × |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.message} | {row.octets} | {row.decode:.2f} | {row.encode:.2f} | {row.pyasn1_decode:.0f} | "
        f"{row.pyasn1_encode:.0f} | {row.pyasn1_decode / row.decode:.0f} | {row.pyasn1_encode / row.encode:.0f} |"
        for row in rows
    ]
    reached = rows[0].pyasn1_decode / rows[0].decode
    lines.append(f"\nAP-REQ decode: {reached:.0f}x pyasn1, target {AP_REQ_TARGET}x: {_met(reached)}")
    return "\n".join(lines)


def _met(reached: float) -> str:
    return "met" if reached >= AP_REQ_TARGET else "MISSED"


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description="DER messages beside pyasn1")
    options.add_argument("--seconds", type=float, default=0.3, help="about how long each number is measured")
    print(table(run(options.parse_args().seconds)))


if __name__ == "__main__":
    main()
