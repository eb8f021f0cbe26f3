"""Which KDC is asked: what ends together ends in peace, and whoever answered last is asked first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from securestream_providers.kerberos.effects import KdcService
from securestream_providers.kerberos.network import transports
from securestream_providers.kerberos.network.last_answers import (
    MOST_REMEMBERED,
    REMEMBERED_FOR,
    LastAnswer,
    LastAnswers,
)
from securestream_providers.kerberos.network.performer import KdcPerformer
from securestream_providers.kerberos.network.race import first_answer
from tests.ports import free_port
from tests.providers.kerberos.test_client_network import (
    ANSWER,
    answering,
    at,
    error,
    framed,
    request,
    tcp_server,
    udp_server,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("refused_first", [True, False])
async def test_a_refusal_in_the_same_turn_as_an_answer_harms_nothing(refused_first: bool) -> None:
    go = anyio.Event()

    async def refused() -> bytes:
        await go.wait()
        raise ConnectionRefusedError("refused")

    async def answered() -> bytes:
        await go.wait()
        return ANSWER

    async def signal() -> bytes:
        go.set()
        await anyio.sleep_forever()
        raise AssertionError

    both = [refused, answered] if refused_first else [answered, refused]
    answer, failures = await first_answer([[*both, refused, answered, signal]], 5)
    assert answer == ANSWER
    assert all(isinstance(failure, ConnectionRefusedError) for failure in failures)


async def test_an_attempt_that_fails_while_it_is_cancelled_harms_nothing() -> None:
    async def stubborn() -> bytes:
        try:
            await anyio.sleep_forever()
        finally:
            raise ConnectionResetError("its connection broke while it was closed")

    async def answered() -> bytes:
        await anyio.lowlevel.checkpoint()
        return ANSWER

    answer, _ = await first_answer([[stubborn, answered]], 5)
    assert answer == ANSWER


async def test_all_fail_at_once() -> None:
    async def refused() -> bytes:
        raise ConnectionRefusedError("refused")

    answer, failures = await first_answer([[refused], [refused, refused]], 5)
    assert (answer, len(failures)) == (None, 3)
    assert await first_answer([], 5) == (None, [])


async def test_the_first_of_two_answers_counts() -> None:
    async def one() -> bytes:
        return b"one"

    async def other() -> bytes:
        await anyio.lowlevel.checkpoint()
        return b"other"

    assert (await first_answer([[one, other]], 5))[0] == b"one"


def counting(seen: list[bytes], answers: list[bytes]) -> Callable[[bytes], list[bytes]]:
    """A UDP service that notes what it is asked."""

    def answer(packet: bytes) -> list[bytes]:
        seen.append(packet)
        return answers

    return answer


@pytest.fixture
def sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams are not repeated, so that a test can count those who are asked."""
    monkeypatch.setattr(transports, "_FIRST_REPEAT", 60.0)


LONG = 60.0
"""Seconds of a moment that a test would notice, and that nobody needs, however busy the machine."""


async def test_a_dead_server_costs_its_moment_once(sent_once: None) -> None:
    asked_dead: list[bytes] = []
    async with udp_server(counting(asked_dead, [])) as dead, udp_server(lambda _: [ANSWER]) as alive:
        performer, servers = KdcPerformer(), (at(dead, "udp"), at(alive, "udp"))
        assert await performer.perform(request(*servers, kdc_timeout=0.2)) == ANSWER
        with anyio.fail_after(LONG / 2):
            for _ in range(5):
                assert await performer.perform(request(*servers, kdc_timeout=LONG)) == ANSWER
    assert len(asked_dead) == 1


async def test_where_datagrams_are_lost_the_next_request_begins_by_tcp(sent_once: None) -> None:
    datagrams: list[bytes] = []
    async with udp_server(counting(datagrams, [])) as port, tcp_server(answering(framed(ANSWER)), port):
        performer = KdcPerformer()
        for moment in (0.2, LONG, LONG):
            assert await performer.perform(request(at(port), kdc_timeout=moment)) == ANSWER
    assert len(datagrams) == 1


async def test_a_reply_too_big_for_a_datagram_says_nothing_against_datagrams(sent_once: None) -> None:
    datagrams: list[bytes] = []
    async with udp_server(counting(datagrams, [error(52)])) as port, tcp_server(answering(framed(ANSWER)), port):
        performer = KdcPerformer()
        for _ in range(2):
            assert await performer.perform(request(at(port), kdc_timeout=LONG)) == ANSWER
    assert len(datagrams) == 2


async def test_when_the_last_one_dies_the_others_are_asked() -> None:
    performer, refusing = KdcPerformer(), free_port()
    async with tcp_server(answering(framed(ANSWER))) as first:
        asked = request(at(refusing, "tcp"), at(first, "tcp"))
        assert await performer.perform(asked) == ANSWER
    async with tcp_server(answering(framed(ANSWER)), refusing):
        assert await performer.perform(asked) == ANSWER


async def test_another_realm_and_another_service_have_memories_of_their_own() -> None:
    memory, asked = LastAnswers(), request(at(1), at(2))
    addresses = (at(1), at(2))
    memory.note(asked, LastAnswer(at(2), by_stream=False))
    assert memory.of(asked, addresses) == LastAnswer(at(2), by_stream=False)
    assert memory.of(replace(asked, realm="OTHER.EXAMPLE"), addresses) is None
    assert memory.of(replace(asked, service=KdcService.PASSWORD), addresses) is None
    assert memory.of(asked, (at(1),)) is None, "it is no server of the realm any more"


async def test_what_is_remembered_ends_and_is_bounded() -> None:
    moment = [1000.0]
    memory, asked = LastAnswers(lambda: moment[0]), request(at(1))
    memory.note(asked, LastAnswer(at(1), by_stream=False))
    moment[0] += REMEMBERED_FOR - 1
    assert memory.of(asked, (at(1),)) is not None
    moment[0] += 1
    assert memory.of(asked, (at(1),)) is None
    realms = [replace(asked, realm=f"R{number}.EXAMPLE") for number in range(MOST_REMEMBERED + 1)]
    for one in realms:
        memory.note(one, LastAnswer(at(1), by_stream=False))
    assert [memory.of(one, (at(1),)) is None for one in realms] == [True] + [False] * MOST_REMEMBERED
