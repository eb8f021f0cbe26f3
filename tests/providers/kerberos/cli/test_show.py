"""A message between a client and a KDC in one readable line, which holds no secret and raises nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.credentials import Password
from securestream.provider import Effect
from securestream_providers.kerberos.cli.show import describe_etype, describe_message
from securestream_providers.kerberos.client import ClientSettings, obtain
from securestream_providers.kerberos.effects import KdcRequest, RecallTickets, RememberTickets
from securestream_providers.kerberos.kdc.embedded import EmbeddedKdc
from securestream_providers.krb5.names import KerberosName
from tests.providers.kerberos.driving import drive, options


def conversation() -> list[bytes]:
    """What passes between alice and the KDC until she has a ticket."""
    kdc = EmbeddedKdc("SHOW.EXAMPLE")
    kdc.add_principal("alice", "a canary of a password")
    kdc.add_principal("host/files.example")
    passed: list[bytes] = []

    def ask(request: KdcRequest) -> bytes:
        reply = kdc.kdc.handle(request.message, now=kdc.clock(), stream=True)
        assert reply is not None
        passed.extend((request.message, reply))
        return reply

    def nothing(effect: Effect[Any]) -> None:
        return

    answers: dict[type[Effect[Any]], Callable[[Any], Any]] = {
        KdcRequest: ask,
        RecallTickets: nothing,
        RememberTickets: nothing,
    }
    target = KerberosName.parse("host/files.example@SHOW.EXAMPLE")
    alice = Password("alice@SHOW.EXAMPLE", "a canary of a password")
    drive(obtain(ClientSettings(kdc.config), alice, target, options()), answers)
    return passed


PASSED = conversation()


def test_each_message_is_one_line_that_says_what_it_is() -> None:
    lines = [describe_message(octets) for octets in PASSED]
    assert [line.split()[0] for line in lines] == ["AS-REQ", "KRB-ERROR", "AS-REQ", "AS-REP", "TGS-REQ", "TGS-REP"]
    assert lines[0].startswith("AS-REQ alice@SHOW.EXAMPLE for krbtgt/SHOW.EXAMPLE@SHOW.EXAMPLE, with ")
    assert "preauth-required" in lines[1]
    assert "enc-timestamp" in lines[2]
    assert "alice@SHOW.EXAMPLE gets a ticket for krbtgt/SHOW.EXAMPLE@SHOW.EXAMPLE under aes256-cts" in lines[3]
    assert "for host/files.example@SHOW.EXAMPLE, with tgs-req" in lines[4]
    assert "a ticket for host/files.example@SHOW.EXAMPLE under aes256" in lines[5]
    for line, octets in zip(lines, PASSED, strict=True):
        assert line.endswith(f"({len(octets)} octets)")
        assert "canary" not in line


@given(st.sampled_from(PASSED), st.data())
def test_a_damaged_message_is_one_line_too(octets: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(octets) - 1))
    damaged = octets[:position] + bytes((octets[position] ^ data.draw(st.integers(1, 255)),)) + octets[position + 1 :]
    for each in (damaged, octets[:position]):
        assert describe_message(each)


@pytest.mark.parametrize(("octets", "line"), [(b"", "no Kerberos message (0 octets)"), (b"\x6a", "AS-REQ, malformed")])
def test_what_is_none_is_said_so(octets: bytes, line: str) -> None:
    assert describe_message(octets).startswith(line)


def test_an_unknown_number_stays_one() -> None:
    assert describe_etype(4711) == "4711"
