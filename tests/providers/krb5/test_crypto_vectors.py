"""Every published vector of Kerberos cryptography is recomputed, and one altered octet in any of them is seen.

Those of RFCs are copied into ``crypto_vectors.json``, so these tests stand alone; those of other projects are read from
``../shared``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import BadSignature, SecureStreamError
from securestream_providers.krb5.keys import make_key
from tests.conftest import SHARED
from tests.listing import LEFT_OUT, VECTORS
from tests.providers.krb5.crypto_vector_checks import BY_OPERATION, Check, Vector, left_out

HEX = re.compile(r"(?:[0-9a-f]{2})+\Z")
TEXTS = ("k1_password", "k1_salt", "k2_password", "k2_salt")
UNSALTED = (23,)
NOT_DATA = ("id", "source", "op", "note", "of", "verification_level", "enctype_name", "cksumtype_name", "algorithm")
OWN = Path(__file__).with_name("crypto_vectors.json")
FOREIGN = (
    *("rfc3961_nfold", "rfc3961_des_des3_crc", "rfc3962_aes", "rfc8009_aes_sha2", "rfc6803_camellia"),
    *("mit_crypto_decrypt", "mit_crypto_derive", "mit_crypto_checksum", "mit_crypto_prf", "mit_crypto_string2key"),
    *("rfc6113_krb_fx_cf2", "gss_krb5_prf"),
)


def _load(path: Path) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads(path.read_text())["vectors"]
    return vectors


def _all() -> Iterator[tuple[str, dict[str, Any]]]:
    for vector in _load(OWN):
        yield f"{OWN.name}, copied", vector
    for name in FOREIGN if SHARED.is_dir() else ():
        for vector in _load(SHARED / "vectors" / f"{name}.json"):
            yield f"{name}.json", vector


each_vector = pytest.mark.parametrize(
    ("file", "vector"),
    [
        pytest.param(file, vector, id=f"{'own-' if 'copied' in file else ''}{vector['id']}")
        for file, vector in _all()
        if left_out(vector) is None
    ],
)


@each_vector
def test_vector_is_recomputed(
    file: str, vector: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    record_property(VECTORS, file)
    BY_OPERATION[vector["op"]](vector)


def test_vectors_left_out_are_of_algorithms_that_are_never_used(
    record_property: Callable[[str, object], None], shared: Path
) -> None:
    for file, vector in _all():
        if reason := left_out(vector):
            record_property(LEFT_OUT, f"{file}: {vector['id']}: {reason}")


def test_unkeyed_checksums_of_the_vectors_are_refused(shared: Path) -> None:
    unkeyed = [v for v in _load(shared / "vectors" / "mit_crypto_checksum.json") if v["cksumtype"] in (2, 7, 14)]
    assert unkeyed
    for vector in unkeyed:
        for etype, size in ((16, 24), (17, 16), (18, 32), (19, 16), (20, 32), (23, 16), (25, 16), (26, 32)):
            with pytest.raises(BadSignature, match="not keyed"):
                make_key(etype, bytes(size)).verify(
                    0, bytes.fromhex(vector["data"]), bytes.fromhex(vector["checksum"]), vector["cksumtype"]
                )


def _altered(vector: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in vector.items():
        if name in NOT_DATA or ("salt" in name and vector.get("enctype") in UNSALTED):
            continue
        if name in TEXTS:
            yield name, {**vector, name: value + "x"}
        elif isinstance(value, str) and HEX.match(value):
            octets = bytes.fromhex(value)
            for place, octet in enumerate(octets):
                changed = octets[:place] + bytes((octet ^ 0x12,)) + octets[place + 1 :]
                yield f"{name}[{place}]", {**vector, name: changed.hex()}


def _is_red(check: Check, vector: Vector) -> bool:
    try:
        check(vector)
    except (AssertionError, SecureStreamError, UnicodeDecodeError, pytest.fail.Exception):
        return True
    return False


@each_vector
def test_one_altered_octet_turns_a_vector_red(file: str, vector: dict[str, Any]) -> None:
    check = BY_OPERATION[vector["op"]]
    if "expect_error" in vector:  # its count is refused, whatever else it says: only a count that is accepted is red
        assert _is_red(check, {**vector, "params": "00008000"})
        return
    count = 0
    for name, altered in _altered(vector):
        count += 1
        assert _is_red(check, altered), f"{file}: {name} was altered and nobody saw it"
    assert count, "nothing of it was altered"


def test_each_file_has_as_many_vectors_as_it_says(shared: Path) -> None:
    for name in FOREIGN:
        content = json.loads((shared / "vectors" / f"{name}.json").read_text())
        assert len(content["vectors"]) == content["count"]
