"""Ciphers that stay alive in a key: each message is what a key that was made just now would have made of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from securestream.errors import BadSignature
from securestream_providers.krb5.crypto.simplified import CtsKeys
from securestream_providers.krb5.keys import Key, make_key, random_key

_ETYPES = (17, 18, 19, 20, 25, 26)
_USAGE = 11


def _again(key: Key) -> Key:
    """The same key without anything alive in it."""
    return make_key(key.etype, key.contents.reveal())


@pytest.mark.parametrize("etype", _ETYPES)
def test_messages_do_not_hang_on_those_before_them(etype: int) -> None:
    key = random_key(etype, os.urandom)
    for size in (0, 1, 15, 16, 17, 31, 32, 33, 100, 1000, 0, 16):
        confounder, data = os.urandom(16), os.urandom(size)
        sealed = key.encrypt(_USAGE, data, confounder.ljust)  # gives it, whatever size is asked for
        assert sealed == _again(key).encrypt(_USAGE, data, confounder.ljust)
        assert key.decrypt(_USAGE, sealed) == _again(key).decrypt(_USAGE, sealed) == data


@pytest.mark.parametrize("etype", _ETYPES)
def test_what_is_refused_changes_nothing(etype: int) -> None:
    key = random_key(etype, os.urandom)
    for size in (16, 40):
        sealed = key.encrypt(_USAGE, bytes(size), os.urandom)
        with pytest.raises(BadSignature):
            key.decrypt(_USAGE, sealed[:-1] + bytes((sealed[-1] ^ 1,)))
        assert key.decrypt(_USAGE, sealed) == bytes(size)


def test_threads_share_a_key() -> None:
    key = random_key(18, os.urandom)

    def both_ways(number: int) -> bool:
        data = number.to_bytes(4, "big") * 20
        return all(_again(key).decrypt(_USAGE, key.encrypt(_USAGE, data, os.urandom)) == data for _ in range(50))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(both_ways, range(16)))


def _alive(keys: CtsKeys) -> tuple[int, int]:
    """Ciphers that encrypt, and that decrypt."""
    encrypting, decrypting = keys._encrypting, keys._decrypting  # pyright: ignore[reportPrivateUsage]  no user sees it
    return len(encrypting), len(decrypting)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # beside other tests' threads, of Python 3.12
@pytest.mark.parametrize("used", [(1, 1), (1, 0), (0, 1)])
def test_a_forked_child_has_no_cipher_of_its_parent(used: tuple[int, int]) -> None:
    """SECURITY 5; whatever the key was used for."""
    key = random_key(18, os.urandom)
    keys, sealed = key.for_usage(_USAGE), _again(key).encrypt(_USAGE, b"data", os.urandom)
    assert isinstance(keys, CtsKeys)
    if used[0]:
        keys.encrypt(b"data", os.urandom)
    if used[1]:
        assert keys.decrypt(sealed) == b"data"
    assert _alive(keys) == used
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if _alive(keys) == (0, 0) and keys.decrypt(sealed) == b"data" else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert _alive(keys) == used
