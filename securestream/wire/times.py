"""FILETIME: 100-nanosecond intervals since 1601-01-01 UTC ([MS-DTYP] 2.3.3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_filetime(moment: datetime) -> int:
    """The FILETIME of an aware `datetime`, to the microsecond; 0 for anything before 1601."""
    return max(0, (moment - EPOCH) // _MICROSECOND * 10)


def from_filetime(value: int) -> datetime | None:
    """The moment, aware UTC and rounded down to the microsecond; `None` where a `datetime` cannot hold it.

    The largest values mean "never" in Windows' structures, which is why they are no error.

    Args:
        value: an unsigned 64-bit FILETIME.
    """
    try:
        return EPOCH + timedelta(microseconds=value // 10)
    except OverflowError:
        return None
