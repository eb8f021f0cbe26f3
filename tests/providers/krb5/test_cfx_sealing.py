"""Live contexts of sealing: confounders never repeat, a forked child has none of them, nothing is left in frames."""

from __future__ import annotations

import os
import traceback

import pytest

from securestream.errors import BadSignature, ContextExpired, UsageError
from securestream_providers.krb5.cfx_sealing import Sealer, Unsealer
from tests.core.test_fork import in_child, needs_fork
from tests.providers.krb5.keys import CFX_ETYPES, counting, key


@pytest.mark.parametrize("etype", [16, 23])
def test_types_with_tokens_of_rfc_1964_are_refused(etype: int) -> None:
    with pytest.raises(UsageError, match="RFC 1964"):
        Sealer(key(etype), 24, counting())
    with pytest.raises(UsageError, match="RFC 1964"):
        Unsealer(key(etype), 24)


@pytest.mark.parametrize("etype", CFX_ETYPES)
def test_no_confounder_repeats(etype: int) -> None:
    mine = key(etype)
    sealer = Sealer(mine, 24, os.urandom)
    tokens = [sealer.seal(b"the same") for _ in range(1000)]
    assert len(set(tokens)) == 1000
    assert {mine.decrypt(24, token) for token in tokens} == {b"the same"}


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_discarded_context_refuses_every_use(size: int) -> None:
    mine = key(18)
    sealer, unsealer = Sealer(mine, 24, counting()), Unsealer(mine, 24)
    token = sealer.seal(bytes(size))
    parts = sealer.seal_parts([(b"part", True)], bytes(16))
    sealer.discard()
    unsealer.discard()
    with pytest.raises(ContextExpired, match="authenticate again"):
        sealer.seal(bytes(size))
    with pytest.raises(ContextExpired):
        sealer.seal_parts([], bytes(16))
    with pytest.raises(ContextExpired):
        unsealer.unseal(token)
    with pytest.raises(ContextExpired):
        unsealer.unseal_parts(parts[0], [(parts[1][0], True)], parts[2])


@needs_fork
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_has_neither_confounders_nor_ciphers() -> None:
    sealer, unsealer = Sealer(key(18), 24, os.urandom), Unsealer(key(18), 24)
    token = sealer.seal(b"data")

    def all_refuse() -> bool:
        for use in (lambda: sealer.seal(b"data"), lambda: unsealer.unseal(token)):
            with pytest.raises(ContextExpired, match="inherited through a fork"):
                use()
        return True

    assert in_child(all_refuse)
    assert key(18).decrypt(24, sealer.seal(b"more")) == b"more"  # the parent goes on


@pytest.mark.parametrize("etype", CFX_ETYPES)
@pytest.mark.parametrize("size", [64, 20_000])
def test_no_plaintext_is_in_the_frames_of_a_refusal(etype: int, size: int) -> None:
    mine = key(etype)
    token = bytearray(Sealer(mine, 24, counting()).seal(b"canary" * size))
    token[-1] ^= 1
    with pytest.raises(BadSignature) as caught:
        Unsealer(mine, 24).unseal(bytes(token))
    found = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "".join(
        line for frame in found.stack if "cfx_sealing.py" in frame.filename for line in (frame.locals or {}).values()
    )
    assert shown
    assert "canary" not in shown


@pytest.mark.parametrize("etype", CFX_ETYPES)
def test_no_plaintext_is_in_the_frames_of_a_refusal_in_parts(etype: int) -> None:
    mine = key(etype)
    front, pieces, behind = Sealer(mine, 24, counting()).seal_parts([(b"canary" * 9, True)], bytes(16))
    with pytest.raises(BadSignature) as caught:
        Unsealer(mine, 24).unseal_parts(front, [(pieces[0], True)], behind[:-1] + bytes((behind[-1] ^ 1,)))
    found = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert not any("canary" in value for frame in found.stack[1:] for value in (frame.locals or {}).values())
