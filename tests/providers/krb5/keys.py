"""What the tests of Kerberos cryptography share: a key of each encryption type, and randomness that is none."""

from __future__ import annotations

import random as library
from collections.abc import Callable

from securestream_providers.krb5.keys import Key, make_key, seed_size
from securestream_providers.krb5.keys import key_of_seed as key_of_seed
from securestream_providers.krb5.numbers import EncryptionType

ETYPES = tuple(EncryptionType)
CFX_ETYPES = tuple(etype for etype in ETYPES if etype not in (16, 23))


def counting(seed: int = 1) -> Callable[[int], bytes]:
    """Octets that repeat from run to run."""
    source = library.Random(seed)
    return source.randbytes


def key(etype: int, seed: int = 1) -> Key:
    made = key_of_seed(etype, counting(seed)(seed_size(etype)))
    return make_key(made.etype, made.contents.reveal())
