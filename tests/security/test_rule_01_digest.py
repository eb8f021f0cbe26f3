"""Rule 1 for HTTP Digest, which is no package's handshake: no password, verifier or key in what is reported."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from securestream.credentials import Accounts
from securestream.drive import Performer
from securestream.errors import SecureStreamError
from securestream.http.fields import parse_challenges
from securestream.http.schemes import HttpReply, SendRequest
from securestream.logon import VerifierLogon
from securestream.machine import HandshakeMachine
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest import Algorithm, NonceCount
from tests.core.canaries import Canaries, report
from tests.providers.digest.ends import KEY, REALM, Web, World, asked, get, make_client, make_server, with_parameter

PASSWORD = "canary-password-of-alice"
EVERY = tuple(Algorithm)


class Broken(Performer):
    """Raises where the work is done."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def perform_blocking(self, effect: Any) -> Any:
        raise self.error


def canaries() -> Canaries:
    found = Canaries()
    found.add("password", PASSWORD)
    found.add("wrong password", PASSWORD[::-1])
    found.add("key of nonces", KEY)
    for algorithm in EVERY:
        for password in (PASSWORD, PASSWORD[::-1]):
            verifier = algorithm.verifier(b"alice", REALM.encode(), password.encode())
            found.add(f"verifier for {algorithm.token}", verifier)
    return found


def refused(run: Callable[[], object]) -> Exception:
    try:
        run()
    except (SecureStreamError, RuntimeError) as error:
        return error
    raise AssertionError("this was to fail")


@pytest.mark.parametrize("algorithm", EVERY)
def test_no_failure_of_either_end_reports_a_secret(algorithm: Algorithm, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, errors, shown = canaries(), list[Exception](), list[object]()
    store = MemoryAccounts()
    store.add("alice", PASSWORD)

    def world() -> tuple[World, Web]:
        made = World()
        server = make_server(credential=Accounts(store), algorithms=[algorithm])
        return made, Web(made, server)

    def client_side(change: Callable[[HttpReply], HttpReply], password: str = PASSWORD) -> Callable[[], object]:
        def run() -> object:
            made, web = world()
            client = make_client(password=password, algorithms=[algorithm])
            handshake = client.initiate(web.challenge(get()).challenges, get(), made.options)
            assert handshake is not None
            machine = HandshakeMachine(handshake)
            step = machine.step()
            shown.extend([client, vars(client), machine, step, step.need, web.server, vars(web.server)])
            assert isinstance(step.need, SendRequest)
            reply = web.answer(get(), step.need.authorization)
            shown.extend([reply, vars(reply), *web.served, *web.refused])
            errors.extend(web.refused)
            return machine.step(change(reply))

        return run

    def server_side(change: Callable[[str], str], *broken: tuple[type[Any], Exception]) -> Callable[[], object]:
        def run() -> object:
            made, web = world()
            for effect, error in broken:
                made.services.register_performer(effect, Broken(error))
            challenges = parse_challenges(web.server.challenges(get(), made.options))
            handshake = make_client(password=PASSWORD, algorithms=[algorithm]).initiate(challenges, get(), made.options)
            assert handshake is not None
            need = HandshakeMachine(handshake).step().need
            assert isinstance(need, SendRequest)
            request = asked(get(), change(need.authorization))
            shown.append(request)
            return made.drive(web.server.accept(request, made.options))

        return run

    def informed(*information: str) -> Callable[[HttpReply], HttpReply]:
        return lambda reply: HttpReply.received(200, information=information)

    zeros = f'"{"0" * 64}"'
    failing = [
        client_side(informed()),
        client_side(informed(f"rspauth={zeros}")),
        client_side(informed("rspauth")),
        client_side(lambda reply: HttpReply.received(401)),
        client_side(lambda reply: reply, PASSWORD[::-1]),
        server_side(lambda text: with_parameter(text, "response", zeros)),
        server_side(lambda text: with_parameter(text, "nonce", zeros)),
        server_side(lambda text: with_parameter(text, "uri", zeros)),
        server_side(lambda text: with_parameter(text, "nc", "00000000")),
        server_side(lambda text: with_parameter(text, "username", '"nobody"')),
        server_side(str, (VerifierLogon, RuntimeError("a bug"))),
        server_side(str, (VerifierLogon, ServiceUnavailable("the store is away"))),
        server_side(str, (NonceCount, RuntimeError("a bug"))),
    ]
    errors += map(refused, failing)
    assert len(errors) > len(failing)
    logged = "\n".join(f"{record.getMessage()} {record.__dict__!r}" for record in caplog.records)
    for text in [*map(report, errors), *map(repr, shown), *map(str, errors), logged]:
        assert not secret.found_in(text), text


class ServiceUnavailable(SecureStreamError):
    """Stands for a store that cannot be read."""
