"""Rules 5 and 6 of SECURITY, held against every installed package: forks, default protection, reflection."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from securestream.ambient import system_options
from securestream.carrier import check_quality
from securestream.errors import (
    BadSignature,
    ContextError,
    ContextExpired,
    QualityNotMet,
    SecureStreamError,
    Unsupported,
)
from securestream.options import ContextFlags, Options, Protection, Role, required_flags
from securestream.provider import Cover, SecurityContext, Unwrapped
from securestream.records.base import PlainData, RecordConnection
from tests.core.canaries import CASES, LAYERS, RECORDS, TOKENS, Attempt, Setup

SEALING = {name: make for name, make in TOKENS.items() if name.startswith(("ntlm", "kerberos", "negotiate"))}
"""Whose contexts seal messages in parts."""
by_setup = pytest.mark.parametrize("make", CASES.values(), ids=CASES)
by_tokens = pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS)
by_sealing = pytest.mark.parametrize("make", SEALING.values(), ids=SEALING)
SIGNING = {name: make for name, make in TOKENS.items() if name not in LAYERS}
"""Whose contexts sign beside sealing, and seal as each message asks."""
by_signing = pytest.mark.parametrize("make", SIGNING.values(), ids=SIGNING)
by_records = pytest.mark.parametrize("make", RECORDS.values(), ids=RECORDS)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # as in test_fork
Make = Callable[[], Setup]


def contexts(make: Make) -> tuple[SecurityContext, SecurityContext]:
    """The initiator's and the acceptor's."""
    found: dict[Role, SecurityContext] = {}
    for outcome in Attempt(make()).run().established:
        assert isinstance(outcome.result, SecurityContext)
        found[outcome.result.role] = outcome.result
    return found[Role.INITIATOR], found[Role.ACCEPTOR]


def connections(make: Make) -> tuple[RecordConnection, RecordConnection]:
    """Two record connections; which is the client's does not matter."""
    one, two = (outcome.result for outcome in Attempt(make()).run().established)
    assert not isinstance(one, SecurityContext)
    assert not isinstance(two, SecurityContext)
    return one, two


def said_by_child(work: Callable[[], bytes]) -> bytes:
    """What `work` gives in a forked child; the name of the error where it raises one of ours."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, work())
        except SecureStreamError as error:
            os.write(write, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


class TestForks:
    """SECURITY 5: no confounder and no sequence number is used by two processes."""

    @needs_fork
    @by_tokens
    def test_a_context_lives_on_in_its_own_process_alone(self, make: Make) -> None:
        initiator, acceptor = contexts(make)
        before = initiator.wrap(b"before")
        assert said_by_child(lambda: initiator.wrap(b"child")) == b"ContextExpired"
        assert said_by_child(lambda: acceptor.unwrap(before).data) == b"ContextExpired"
        assert acceptor.unwrap(before).data == b"before"
        assert acceptor.unwrap(initiator.wrap(b"parent")).data == b"parent"

    @needs_fork
    @by_records
    def test_so_does_a_record_connection(self, make: Make) -> None:
        one, two = connections(make)

        def send() -> bytes:
            one.send(b"child")
            return one.data_to_send()

        assert said_by_child(send) == b"ContextExpired"
        one.send(b"parent")
        two.receive_data(one.data_to_send())
        assert two.next_event() == PlainData(b"parent")

    @needs_fork
    def test_random_draws_do_not_repeat_across_a_fork(self) -> None:
        """What the operating system gives differs; nothing here keeps a pool of its own."""
        options = system_options()
        drawn = said_by_child(lambda: options.random(16))
        assert len(drawn) == 16
        assert drawn != options.random(16)


class TestWhatWasAskedIsWhatRuns:
    """SECURITY 6."""

    @by_setup
    def test_the_default_is_to_encrypt_and_sign_at_both_ends(self, make: Make) -> None:
        attempt = Attempt(make()).run()
        assert len(attempt.established) == 2
        for outcome in attempt.established:
            check_quality(outcome, system_options())
            if isinstance(outcome.result, SecurityContext):
                assert required_flags(Protection.ENCRYPT_AND_SIGN) in outcome.result.flags

    @by_tokens
    @pytest.mark.parametrize("asked", [Protection.NONE, Protection.SIGN])
    def test_both_ends_see_that_less_was_agreed(self, make: Make, asked: Protection) -> None:
        attempt = Asking(make(), asked).run()
        assert len(attempt.established) == 2, attempt.errors
        for outcome in attempt.established:
            with pytest.raises(QualityNotMet):
                check_quality(outcome, system_options())
            check_quality(outcome, system_options(protection=asked))
            assert isinstance(outcome.result, SecurityContext)
            assert ContextFlags.CONFIDENTIALITY not in outcome.result.flags

    @by_signing
    @pytest.mark.parametrize("encrypt", [True, False])
    def test_whether_it_was_encrypted_is_told(self, make: Make, encrypt: bool) -> None:
        """At level sign the token is in clear; at level encrypt both ends know which it was."""
        initiator, acceptor = contexts(make)
        token = initiator.wrap(b"the plaintext of a message", encrypt=encrypt)
        assert (b"plaintext" in token) is not encrypt
        try:
            opened = acceptor.unwrap(token)
        except ContextError:
            assert not encrypt, "a mechanism may refuse clear data itself (NTLM's tokens do not say which they are)"
        else:
            assert opened == Unwrapped(b"the plaintext of a message", encrypted=encrypt)

    @by_tokens
    def test_a_reflected_token_is_refused(self, make: Make) -> None:
        for context in contexts(make):
            token = context.wrap(b"to the peer")
            with pytest.raises(BadSignature):
                context.unwrap(token)

    @by_signing
    def test_a_reflected_signature_is_refused(self, make: Make) -> None:
        for context in contexts(make):
            signature = context.sign(b"to the peer")
            with pytest.raises(BadSignature):
                context.verify(b"to the peer", signature)

    @by_tokens
    def test_each_altered_octet_is_noticed(self, make: Make) -> None:
        for at in range(len(contexts(make)[0].wrap(b"data"))):
            initiator, acceptor = contexts(make)
            token = bytearray(initiator.wrap(b"data"))
            token[at] ^= 1
            with pytest.raises(ContextError):
                acceptor.unwrap(token)

    @by_sealing
    def test_each_altered_octet_of_a_sealed_message_is_noticed(self, make: Make) -> None:
        covers = (Cover.SIGNED, Cover.SEALED)
        parts = list(zip((b"header", b"body"), covers, strict=True))
        for place in range(len(contexts(make)[0].seal(parts).signature)):
            initiator, acceptor = contexts(make)
            sealed = initiator.seal(parts)
            signature = bytearray(sealed.signature)
            signature[place] ^= 1
            with pytest.raises(ContextError):
                acceptor.unseal(list(zip(sealed.parts, covers, strict=True)), signature)

    @pytest.mark.parametrize("name", sorted(set(TOKENS) - set(SEALING)))
    def test_a_mechanism_that_seals_no_parts_says_so(self, name: str) -> None:
        for context in contexts(TOKENS[name]):
            with pytest.raises(Unsupported, match="in parts"):
                context.seal([(b"body", Cover.SEALED)])


@pytest.mark.parametrize("name", TOKENS)
def test_a_discarded_context_refuses_everything(name: str) -> None:
    initiator, acceptor = contexts(TOKENS[name])
    token = initiator.wrap(b"x")
    signature = b"" if name in LAYERS else initiator.sign(b"x")
    for context in (initiator, acceptor):
        context.discard()
        context.discard()
    uses: list[Callable[[], object]] = [
        lambda: initiator.wrap(b"x"),
        lambda: acceptor.unwrap(token),
    ]
    if signature:
        uses += [lambda: initiator.sign(b"x"), lambda: acceptor.verify(b"x", signature)]
    for use in uses:
        with pytest.raises(ContextExpired):
            use()


class Asking(Attempt):
    """Both ends ask for this protection."""

    def __init__(self, setup: Setup, protection: Protection) -> None:
        super().__init__(setup)
        self._protection = protection

    def _options(self) -> Options:
        return replace(super()._options(), protection=self._protection)
