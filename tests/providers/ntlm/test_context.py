"""The security context: parts, numbers, SPNEGO's reset, export, the end."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from securestream.errors import BadSignature, ContextExpired, OutOfSequence, Unsupported, UsageError
from securestream.options import ContextFlags, Protection, Role
from securestream.provider import Cover, Part
from securestream_providers.ntlm import Ntlm, NtlmContext
from securestream_providers.ntlm.crypto import rc4, sealing_key
from securestream_providers.ntlm.messages import Flag
from tests.providers.ntlm.ends import handshake, options

KEY = bytes(range(16))
SEALING = Flag.SIGN | Flag.SEAL | Flag.KEY_EXCH | Flag.BITS_128 | Flag.ALWAYS_SIGN
EXTENDED = SEALING | Flag.EXTENDED_SESSION_SECURITY
MODES = {
    "extended": EXTENDED,
    "extended without key exchange": EXTENDED & ~Flag.KEY_EXCH,
    "extended 56": EXTENDED & ~Flag.BITS_128 | Flag.BITS_56,
    "extended 40": EXTENDED & ~Flag.BITS_128,
    "old": SEALING,
    "old LM 56": SEALING & ~Flag.BITS_128 | Flag.BITS_56 | Flag.LM_KEY,
    "old LM 40": SEALING & ~Flag.BITS_128 | Flag.LM_KEY,
}
each_mode = pytest.mark.parametrize("flags", MODES.values(), ids=MODES)


def pair(flags: int, **more: Any) -> tuple[NtlmContext, NtlmContext]:
    return NtlmContext(Role.INITIATOR, flags, KEY, **more), NtlmContext(Role.ACCEPTOR, flags, KEY, **more)


def _uses(*uses: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    return uses


def _received(parts: list[Part], sealed: tuple[bytes, ...]) -> list[Part]:
    return [(octets, cover) for octets, (_, cover) in zip(sealed, parts, strict=True)]


@each_mode
def test_parts_keep_their_length_and_are_covered_in_order(flags: int) -> None:
    """As DCE/RPC seals: header and trailer signed, the stub sealed."""
    ours, theirs = pair(flags)
    parts: list[Part] = [
        (b"header", Cover.SIGNED),
        (bytearray(b"stub one"), Cover.SEALED),
        (b"", Cover.SEALED),
        (memoryview(b"stub two"), Cover.SEALED),
        (b"verifier", Cover.SIGNED),
        (b"padding", Cover.UNTOUCHED),
    ]
    for _ in range(3):
        sealed, signature = ours.seal(parts)
        assert len(signature) == ours.signature_size(parts) == 16
        assert [len(octets) for octets in sealed] == [len(octets) for octets, _ in parts]
        assert (sealed[0], sealed[4], sealed[5]) == (b"header", b"verifier", b"padding")
        assert sealed[1] != b"stub one"
        opened = theirs.unseal(_received(parts, sealed), signature)
        assert opened == tuple(bytes(octets) for octets, _ in parts)
    assert theirs.unwrap(ours.wrap(b"numbers and streams went on together")).encrypted


@each_mode
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_change_in_any_signed_part_is_seen(flags: int, index: int) -> None:
    ours, theirs = pair(flags)
    parts: list[Part] = [(b"header", Cover.SIGNED), (b"stub", Cover.SEALED), (b"trailer", Cover.SIGNED)]
    sealed, signature = ours.seal(parts)
    received = _received(parts, sealed)
    octets, cover = received[index]
    received[index] = (bytes((octets[0] ^ 1,)) + octets[1:], cover)
    with pytest.raises(BadSignature):
        theirs.unseal(received, signature)
    with pytest.raises(ContextExpired):
        theirs.unseal(_received(parts, sealed), signature)


def test_untouched_parts_may_change() -> None:
    ours, theirs = pair(EXTENDED)
    sealed, signature = ours.seal([(b"free", Cover.UNTOUCHED), (b"stub", Cover.SEALED)])
    assert theirs.unseal([(b"FREE", Cover.UNTOUCHED), (sealed[1], Cover.SEALED)], signature)[1] == b"stub"


def test_one_sealed_part_is_what_wrap_makes() -> None:
    one, other = pair(EXTENDED)[0], pair(EXTENDED)[0]
    sealed, signature = one.seal([(b"data", Cover.SEALED)])
    assert signature + sealed[0] == other.wrap(b"data")


@each_mode
def test_wrap_and_sign_share_one_sequence(flags: int) -> None:
    ours, theirs = pair(flags)
    first, second = ours.sign(b"a"), ours.wrap(b"b")
    theirs.verify(b"a", first)
    assert theirs.unwrap(second).data == b"b"
    ours.verify(b"c", theirs.sign(b"c"))


@each_mode
def test_a_bad_message_ends_the_context(flags: int) -> None:
    ours, theirs = pair(flags)
    good, token = ours.wrap(b"x" * 20), bytearray(ours.wrap(b"y" * 20))
    theirs.unwrap(good)
    token[-1] ^= 1
    with pytest.raises(BadSignature):
        theirs.unwrap(token)
    for use in _uses(lambda: theirs.unwrap(ours.wrap(b"z")), lambda: theirs.wrap(b"z"), lambda: theirs.sign(b"z")):
        with pytest.raises(ContextExpired):
            use()
    with pytest.raises(ContextExpired):
        _ = theirs.session_key


@pytest.mark.parametrize("flags", [EXTENDED, EXTENDED & ~Flag.KEY_EXCH])
def test_an_early_message_is_out_of_sequence_and_spends_nothing(flags: int) -> None:
    ours, theirs = pair(flags)
    first, second = ours.sign(b"1"), ours.sign(b"2")
    with pytest.raises(OutOfSequence):
        theirs.verify(b"2", second)
    theirs.verify(b"1", first)
    theirs.verify(b"2", second)


def test_without_extended_security_an_early_message_is_refused_for_good() -> None:
    ours, theirs = pair(SEALING)
    ours.wrap(b"1")
    with pytest.raises(BadSignature):
        theirs.unwrap(ours.wrap(b"2"))


def test_random_pad_may_be_anything_without_extended_security_and_nothing_else_may() -> None:
    """Samba 4.17 sends there what its stream makes of four zeros."""
    for index in range(4 + 12 + 5):
        ours, theirs = pair(SEALING)
        token = bytearray(ours.wrap(b"hello"))
        token[index] ^= 0xFF
        if 4 <= index < 8:
            assert theirs.unwrap(token) == (b"hello", True)
        else:
            with pytest.raises(BadSignature):
                theirs.unwrap(token)


def test_signed_only_tokens_are_signature_and_plaintext() -> None:
    """What .NET 8 sends at level Sign; its predecessor .NET Core 3.1 seals even then."""
    ours, theirs = pair(EXTENDED & ~Flag.SEAL)
    token = ours.wrap(b"clear", encrypt=False)
    assert token[16:] == b"clear"
    assert theirs.unwrap(token) == (b"clear", False)
    with pytest.raises(Unsupported):
        ours.wrap(b"x")
    with pytest.raises(Unsupported):
        ours.seal([(b"x", Cover.SEALED)])
    assert theirs.unseal([(b"y", Cover.SIGNED)], ours.seal([(b"y", Cover.SIGNED)]).signature) == (b"y",)


def test_always_sign_alone_gives_the_dummy_signature() -> None:
    ours, theirs = pair(Flag.ALWAYS_SIGN | Flag.EXTENDED_SESSION_SECURITY)
    assert ours.sign(b"anything") == b"\1\0\0\0" + bytes(12)
    theirs.verify(b"whatever", ours.sign(b"anything"))
    assert ours.wrap(b"x", encrypt=False) == b"\1\0\0\0" + bytes(12) + b"x"
    assert ours.flags == ContextFlags.NONE
    with pytest.raises(BadSignature):
        theirs.verify(b"", b"\1\0\0\0" + bytes(11) + b"\1")


def test_nothing_agreed_protects_nothing() -> None:
    ours, _ = pair(Flag.EXTENDED_SESSION_SECURITY)
    for use in _uses(lambda: ours.wrap(b""), lambda: ours.wrap(b"", encrypt=False), lambda: ours.sign(b"")):
        with pytest.raises(Unsupported):
            use()


@each_mode
def test_the_streams_begin_anew_after_mechlistmics_and_the_numbers_do_not(flags: int) -> None:
    """MS-SPNG 3.3.5.1: number 0 signs the list both ways, data begins with 1 and a fresh keystream."""
    ours, theirs = pair(flags, mic=True)
    assert ours.needs_negotiation_mic
    theirs.check_negotiation_mic(b"list", ours.negotiation_mic(b"list"))
    ours.check_negotiation_mic(b"list", theirs.negotiation_mic(b"list"))
    token = ours.wrap(b"plaintext")
    assert theirs.unwrap(token).data == b"plaintext"
    if flags & Flag.EXTENDED_SESSION_SECURITY:
        assert token[12:16] == b"\1\0\0\0"
        fresh = pair(flags)[0].wrap(b"plaintext")
        assert token[16:] == fresh[16:]
    with pytest.raises(BadSignature):
        ours.check_negotiation_mic(b"another list", theirs.negotiation_mic(b"list"))


@pytest.mark.parametrize("sizes", [(0, 3, 5, 100), (7, 7, 7), (20000, 1), (200000, 1)], ids=str)
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("signed_before", [0, 1, 3])
def test_after_mechlistmics_data_takes_the_keystream_from_its_start(
    sizes: tuple[int, ...], moved: bool, signed_before: int
) -> None:
    """Whatever the sizes are: the first octets of the stream are those that the MIC was sealed with."""
    ours, theirs = pair(EXTENDED, mic=True)
    for _ in range(signed_before):
        theirs.verify(b"m", ours.sign(b"m"))
    theirs.check_negotiation_mic(b"list", ours.negotiation_mic(b"list"))
    stream = rc4(sealing_key(EXTENDED, KEY, Role.INITIATOR))
    for size in sizes:
        token = ours.wrap(b"d" * size)
        assert token[16:] == stream.update(b"d" * size)
        stream.update(bytes(8))
        assert theirs.unwrap(token).data == b"d" * size
        if moved:
            ours, theirs = Ntlm().import_context(ours.export()), Ntlm().import_context(theirs.export())


@each_mode
def test_mechlistmics_may_be_made_again(flags: int) -> None:
    ours, theirs = pair(flags, mic=True)
    for _ in range(3):
        theirs.check_negotiation_mic(b"list", ours.negotiation_mic(b"list"))
        ours.check_negotiation_mic(b"list", theirs.negotiation_mic(b"list"))
    theirs.unwrap(ours.wrap(b"data, more than a MIC spends of the stream"))
    theirs.check_negotiation_mic(b"list", ours.negotiation_mic(b"list"))
    assert theirs.unwrap(ours.wrap(b"data")).data == b"data"


@each_mode
@pytest.mark.parametrize("moved", ["initiator", "acceptor", "both"])
def test_an_exported_context_goes_on_where_it_stood(flags: int, moved: str) -> None:
    ours, theirs = pair(flags, bound=True, mic=True)
    for size in (0, 3, 20000):
        theirs.unwrap(ours.wrap(bytes(size)))
        ours.verify(b"m", theirs.sign(b"m"))
    if moved != "acceptor":
        ours = Ntlm().import_context(ours.export())
    if moved != "initiator":
        theirs = Ntlm().import_context(theirs.export())
    assert ours.bound
    assert ours.needs_negotiation_mic
    assert (ours.role, theirs.role) == (Role.INITIATOR, Role.ACCEPTOR)
    assert ours.flags == theirs.flags
    assert theirs.unwrap(ours.wrap(b"on")).data == b"on"
    assert ours.unwrap(theirs.wrap(b"and on")).data == b"and on"


def test_export_consumes() -> None:
    """An exported context cannot seal twice at one sequence number."""
    ours, _ = pair(EXTENDED)
    ours.export()
    for use in _uses(lambda: ours.wrap(b""), lambda: ours.export(), lambda: ours.sign(b"")):
        with pytest.raises(ContextExpired):
            use()


@pytest.mark.parametrize("size", [0, 1, 30, 59])
def test_what_is_no_export_is_refused(size: int) -> None:
    exported = pair(EXTENDED)[0].export()
    with pytest.raises(UsageError):
        Ntlm().import_context(exported[:size])
    with pytest.raises(UsageError):
        Ntlm().import_context(b"x" + exported[1:])


def test_pickle_and_deepcopy_are_refused() -> None:
    ours, _ = pair(EXTENDED)
    with pytest.raises(TypeError):
        pickle.dumps(ours)
    with pytest.raises(TypeError):
        copy.deepcopy(ours)


def test_repr_shows_package_and_role_only() -> None:
    assert repr(pair(EXTENDED)[0]) == "<NtlmContext NTLM initiator>"


def test_discard_is_idempotent_and_final() -> None:
    ours, _ = pair(EXTENDED)
    ours.wrap(b"used")
    ours.discard()
    ours.discard()
    for use in _uses(lambda: ours.wrap(b""), lambda: ours.unwrap(bytes(16)), lambda: ours.seal([])):
        with pytest.raises(ContextExpired):
            use()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # as in tests/core/test_fork.py
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_cannot_seal() -> None:
    """No keystream is used by two processes (SECURITY: fork and export)."""
    ends = handshake()
    ends.acceptor.unwrap(ends.initiator.wrap(b"live"))
    child = os.fork()
    if child == 0:
        try:
            ends.initiator.wrap(b"twice")
        except ContextExpired:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ends.acceptor.unwrap(ends.initiator.wrap(b"once")).data == b"once"


def test_sequence_numbers_do_not_wrap_around() -> None:
    ours, _ = pair(EXTENDED)
    exported = bytearray(ours.export())
    at = len(b"securestream NTLM\1") + 4 + 1 + 1 + 16
    exported[at : at + 8] = (0xFFFFFFFF).to_bytes(8, "little")
    last = Ntlm().import_context(bytes(exported))
    assert last.wrap(b"the last one")[12:16] == b"\xff\xff\xff\xff"
    with pytest.raises(ContextExpired, match="sequence numbers"):
        last.wrap(b"one too many")


def test_only_datagrams_take_numbers_from_outside() -> None:
    ours, _ = pair(EXTENDED)
    with pytest.raises(UsageError):
        ours.seal([], sequence=1)
    datagram, _ = pair(EXTENDED | Flag.DATAGRAM)
    with pytest.raises(UsageError):
        datagram.seal([])


def test_a_damaged_datagram_ends_nothing_and_counts_for_nothing() -> None:
    ours, theirs = pair(EXTENDED | Flag.DATAGRAM)
    token = ours.wrap(b"first")
    with pytest.raises(BadSignature):
        theirs.unwrap(token[:-1] + bytes((token[-1] ^ 1,)))
    assert theirs.unwrap(token).data == b"first"
    assert theirs.unwrap(ours.wrap(b"second")).data == b"second"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 5, 16383, 16384, 131071, 131072, 3 << 20])
def test_every_kind_of_buffer_of_every_size(kind: type[Any], size: int) -> None:
    ours, theirs = pair(EXTENDED)
    data = os.urandom(size)
    token = ours.wrap(kind(data))
    assert theirs.unwrap(kind(token)) == (data, True)
    theirs.verify(kind(data), kind(ours.sign(kind(data))))


@pytest.mark.parametrize("size", [5, 16384, 131072])
def test_messages_of_all_sizes_follow_one_another_on_one_stream(size: int) -> None:
    ours, theirs = pair(EXTENDED)
    messages = [os.urandom(n) for n in (size, 0, 16384, 3, 131072, size)]
    assert [theirs.unwrap(ours.wrap(message)).data for message in messages] == messages


@pytest.mark.parametrize("used", [False, True])
def test_a_dropped_context_goes_at_once_with_its_keys(used: bool) -> None:
    ours, theirs = pair(EXTENDED)
    if used:
        theirs.unwrap(ours.wrap(b"x"))
    dropped = weakref.ref(ours)
    gc.disable()
    try:
        del ours
        assert dropped() is None
    finally:
        gc.enable()


def test_sizes_are_exact() -> None:
    ours, _ = pair(EXTENDED)
    assert len(ours.sign(b"")) == ours.sizes.signature
    assert len(ours.wrap(b"")) == ours.sizes.wrap_overhead


def test_the_session_key_is_the_same_at_both_ends() -> None:
    ends = handshake(client_options=options(1, protection=Protection.NONE))
    assert ends.initiator.session_key == ends.acceptor.session_key
    assert len(ends.initiator.session_key) == 16


@each_mode
def test_keys_go_with_a_context_whose_list_was_signed(flags: int) -> None:
    """Not only when garbage is collected: a stream that may go back to its start is in no cycle."""
    ours, theirs = pair(flags, mic=True)
    theirs.check_negotiation_mic(b"list", ours.negotiation_mic(b"list"))
    halves = vars(ours)["_halves"]
    streams = [weakref.ref(half.stream) for half in halves]
    gc.disable()
    try:
        del ours, halves
        assert [stream() for stream in streams] == [None, None]
    finally:
        gc.enable()
