"""MD4 and the NT hash against published vectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.services.nt_hash import md4, nt_hash

# RFC 1320, Appendix A.5
RFC_1320 = {
    b"": "31d6cfe0d16ae931b73c59d7e0c089c0",
    b"a": "bde52cb31de33e46245e05fbdbd6fb24",
    b"abc": "a448017aaf21d8525fc10ae87aa6729d",
    b"message digest": "d9130a8164549fe818874806e1c7014b",
    b"abcdefghijklmnopqrstuvwxyz": "d79e1c308aa5bbcdeea8ed63df412da9",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": "043f8582f241db351ce627e153e7f0e4",
    b"1234567890" * 8: "e33b4ddc9c38f2199c3e7b164fcc0536",
}


@pytest.mark.parametrize("message", RFC_1320, ids=len)
def test_md4_gives_the_digests_of_rfc_1320(message: bytes) -> None:
    assert md4(message).hex() == RFC_1320[message]


def test_the_nt_hash_of_the_specifications_example() -> None:
    # [MS-NLMP] 4.2.2.1.1: NTOWFv1 of "Password"
    assert nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"


def test_the_nt_hash_counts_utf16_code_units_outside_the_first_plane() -> None:
    assert nt_hash("\U0001f511") == md4(b"\x3d\xd8\x11\xdd")


@given(st.text(max_size=300))
def test_every_password_has_an_nt_hash(password: str) -> None:
    assert len(nt_hash(password)) == 16


def test_every_length_around_the_block_boundary_has_its_own_digest() -> None:
    digests = {md4(bytes(length)) for length in range(200)}
    assert len(digests) == 200
