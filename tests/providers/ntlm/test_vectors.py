"""Every published NTLM vector is recomputed, and one altered octet in any of them is seen.

Those of specifications and of our own captures are copied into ``vectors.json``, so these tests stand alone; those of
other projects are read from ``../shared``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import SecureStreamError
from tests.conftest import SHARED
from tests.listing import VECTORS
from tests.providers.ntlm.vector_checks import BY_ID, Check, Vector, check_of

HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")
TEXTS = ("password", "user", "domain", "server", "workstation", "av_target_name_text", "message_text")
NOT_DATA = ("id", "source", "op", "note", "verification_level")
OWN = Path(__file__).with_name("vectors.json")
FOREIGN = ("ntlm.json", "primitives_md4_rc4_hmacmd5_crc32.json")

UNPROVED: dict[tuple[str, str], list[range]] = {
    # these exchanges have no MIC: of their messages only what the responses and keys are made of is proved by a value
    ("ntlmauth-ntlm_context", "negotiate"): [range(8)],
    ("ntlmauth-ntlm_context", "challenge"): [range(8), range(24, 32)],
    ("ntlmauth-ntlm_context", "authenticate"): [range(8), range(156, 236), range(236, 252)],
    ("gss-ntlmssp-live-raw", "negotiate"): [range(8)],
    ("gss-ntlmssp-live-raw", "challenge"): [range(8), range(24, 32)],
    ("gss-ntlmssp-live-raw", "authenticate"): [range(8), range(72, 242), range(242, 272), range(276, 292)],
}
"""Which octets of a message must be seen where not every one can be."""


def _load(path: Path) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads(path.read_text())["vectors"]
    return vectors


def _all() -> Iterator[Any]:
    for vector in _load(OWN):
        yield pytest.param("vectors.json, copied", vector, id=f"own-{vector['id']}")
    for name in FOREIGN if SHARED.is_dir() else ():
        for vector in _load(SHARED / "vectors" / name):
            yield pytest.param(name, vector, id=f"{name.split('_')[0].split('.')[0]}-{vector['id']}")


each_vector = pytest.mark.parametrize(("file", "vector"), list(_all()))


@each_vector
def test_vector_is_recomputed(
    file: str, vector: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    record_property(VECTORS, file)
    check = check_of(vector)
    assert check is not None, "nobody recomputes it"
    check(vector)


def _altered(vector: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in vector.items():
        if name in NOT_DATA:
            continue
        if name == "keystream":
            for index, place in enumerate(value):
                for changed in _flips(place["bytes"], range(len(place["bytes"]) // 2)):
                    places = [*value[:index], {**place, "bytes": changed}, *value[index + 1 :]]
                    yield f"keystream {index}", {**vector, name: places}
        elif name in TEXTS:
            yield name, {**vector, name: value + "x"}
        elif isinstance(value, str) and HEX.match(value):
            for proved in UNPROVED.get((vector["id"], name), [range(len(value) // 2)]):
                for changed in _flips(value, proved):
                    yield name, {**vector, name: changed}


def _flips(value: str, places: range) -> Iterator[str]:
    octets = bytes.fromhex(value)
    for place in places:
        yield (octets[:place] + bytes((octets[place] ^ 0x12,)) + octets[place + 1 :]).hex()


def _is_red(check: Check, vector: Vector) -> bool:
    try:
        check(vector)
    except (AssertionError, SecureStreamError, UnicodeDecodeError):
        return True
    return False


@each_vector
def test_one_altered_octet_turns_a_vector_red(file: str, vector: dict[str, Any]) -> None:
    check = check_of(vector)
    assert check is not None
    count = 0
    for name, altered in _altered(vector):
        count += 1
        assert _is_red(check, altered), f"{file}: {name} was altered and nobody saw it"
    assert count, "nothing of it was altered"


def test_every_check_has_its_vector() -> None:
    known = {param.values[1]["id"] for param in _all()}
    if SHARED.is_dir():
        assert set(BY_ID) <= known


def test_each_file_has_as_many_vectors_as_it_says(shared: Path) -> None:
    for name in FOREIGN:
        content = json.loads((shared / "vectors" / name).read_text())
        assert len(content["vectors"]) == content["count"]
