"""The errors: their standard codes, their family, and what they may say."""

from __future__ import annotations

import inspect
import re

import pytest

from securestream import errors
from securestream.errors import (
    ContextError,
    ErrorKind,
    FramingError,
    HandshakeError,
    MissingService,
    PeerGone,
    PeerRefused,
    SecureStreamError,
    ServiceFailed,
    UsageError,
    kind_from_hresult,
    kind_of,
)
from securestream.machine import owed_token
from tests.core.handshakes import Ask

FAMILY = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, BaseException) and member.__module__ == errors.__name__
]
GSS_ROUTINE_ERRORS = range(1, 19)  # RFC 2744 3.9.1, and RFC 2743's DUPLICATE_ELEMENT and NAME_NOT_MN

PUBLISHED = {  # [MS-ERREF] 2.1.1 and 2.3.1; RFC 2744 3.9.1
    ErrorKind.INVALID_TOKEN: (0x80090308, 0xC000000D, 9 << 16),
    ErrorKind.LOGON_DENIED: (0x8009030C, 0xC000006D, 6 << 16),
    ErrorKind.BAD_BINDINGS: (0x80090346, 0xC000035B, 4 << 16),
    ErrorKind.TIME_SKEW: (0x80090324, 0xC0000133, 13 << 16),
    ErrorKind.NO_CREDENTIALS: (0x8009030E, 0xC000005F, 7 << 16),
    ErrorKind.TARGET_UNKNOWN: (0x80090303, 0xC0000225, 2 << 16),
    ErrorKind.CONTEXT_EXPIRED: (0x80090317, 0xC0000350, 12 << 16),
    ErrorKind.CERTIFICATE_REVOKED: (0x80092010, 0xC0000383, 13 << 16),
}


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_has_a_code_of_every_interface(kind: ErrorKind) -> None:
    assert re.fullmatch(r"(SEC|CRYPT|CERT)_E_[A-Z_]+", kind.sspi)
    assert kind.hresult >> 16 in (0x8009, 0x800B), "FACILITY_SSPI and FACILITY_CERT are failures"
    assert kind.ntstatus >> 28 == 0xC, "an NTSTATUS of severity error"
    routine, supplementary = kind.gss >> 16 & 0xFF, kind.gss & 0xFFFF
    assert (routine in GSS_ROUTINE_ERRORS) != (supplementary in (2, 8)), "one GSS status, DUPLICATE or UNSEQ at most"


@pytest.mark.parametrize("kind", PUBLISHED)
def test_codes_are_the_published_ones(kind: ErrorKind) -> None:
    assert (kind.hresult, kind.ntstatus, kind.gss) == PUBLISHED[kind]


def test_one_sspi_name_has_one_number() -> None:
    numbers = {(kind.sspi, kind.hresult) for kind in ErrorKind}
    assert len(numbers) == len({name for name, _ in numbers}) == len({number for _, number in numbers})


def test_kinds_that_share_their_codes_are_still_different() -> None:
    assert len(ErrorKind.__members__) == len(set(ErrorKind))


def test_a_kind_is_found_by_its_hresult() -> None:
    assert kind_from_hresult(0x8009030C) is ErrorKind.LOGON_DENIED
    assert kind_from_hresult(0x12345678) is None
    for kind in ErrorKind:
        found = kind_from_hresult(kind.hresult)
        assert found is not None
        assert found.sspi == kind.sspi


@pytest.mark.parametrize("member", FAMILY)
def test_there_is_one_family(member: type[BaseException]) -> None:
    assert issubclass(member, SecureStreamError)
    assert not issubclass(member, OSError | ValueError | TypeError)


@pytest.mark.parametrize("member", [m for m in FAMILY if issubclass(m, HandshakeError)])
def test_every_handshake_error_has_a_kind_and_may_owe_a_token(member: type[HandshakeError]) -> None:
    error = member("message", token=b"owed")
    assert isinstance(error.kind, ErrorKind)
    assert error.token == b"owed"
    assert member("message").token is None
    assert member("message", kind=ErrorKind.DOWNGRADE).kind is ErrorKind.DOWNGRADE
    assert "owed" not in f"{error} {error!r}", "its token is not shown"


def test_what_came_from_the_peer_is_no_handshake_error_and_owes_nothing() -> None:
    found = [
        PeerRefused("x"),
        PeerGone("x"),
        FramingError("x"),
        ContextError("x"),
        UsageError("x"),
        MissingService(Ask),
    ]
    for error in found:
        assert not isinstance(error, HandshakeError)
        assert owed_token(error) is None


def test_a_failed_service_names_its_effect() -> None:
    assert ServiceFailed("down", Ask).effect is Ask
    assert str(MissingService(Ask)) == "nobody performs Ask: register a performer for it on your Services"


def test_the_kind_of_any_exception() -> None:
    assert kind_of(PeerRefused("no", kind=ErrorKind.BAD_BINDINGS)) is ErrorKind.BAD_BINDINGS
    assert kind_of(errors.OutOfSequence("no")) is ErrorKind.OUT_OF_SEQUENCE
    assert kind_of(ValueError("no")) is ErrorKind.INTERNAL
