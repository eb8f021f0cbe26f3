"""The arithmetic of Digest, with the examples of RFC 2617 3.5 and RFC 7616 3.9."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import pytest

from securestream_providers.digest.algorithms import Algorithm, Qop, Session, equal


class Example(NamedTuple):
    algorithm: Algorithm
    user: str
    realm: str
    password: str
    uri: str
    nonce: str
    cnonce: str
    ha1: str
    response: str


RFC_7616 = {
    "user": "Mufasa",
    "realm": "http-auth@example.org",
    "password": "Circle of Life",
    "uri": "/dir/index.html",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
}
EXAMPLES = {
    "RFC 2617 3.5": Example(
        Algorithm.MD5,
        user="Mufasa",
        realm="testrealm@host.com",
        password="Circle Of Life",
        uri="/dir/index.html",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
        cnonce="0a4f113b",
        ha1="939e7578ed9e3c518a452acee763bce9",
        response="6629fae49393a05397450978507c4ef1",
    ),
    "RFC 7616 3.9.1 MD5": Example(
        Algorithm.MD5,
        **RFC_7616,
        ha1="3d78807defe7de2157e2b0b6573a855f",
        response="8ca523f5e9506fed4657c9700eebdbec",
    ),
    "RFC 7616 3.9.1 SHA-256": Example(
        Algorithm.SHA_256,
        **RFC_7616,
        ha1="7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232",
        response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    ),
    # as erratum 4897 corrects it: the document printed SHA-512, cut
    "RFC 7616 3.9.2 SHA-512-256": Example(
        Algorithm.SHA_512_256,
        user="Jäsøn Doe",
        realm="api@example.org",
        password="Secret, or not?",
        uri="/doe.json",
        nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        ha1="2d3d9f12c9f3d30011259dc5fecee005ae24de40e3e1f61806d03e65f1e6024f",
        response="3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
    ),
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=list(EXAMPLES))
def test_the_published_examples(example: Example) -> None:
    verifier = example.algorithm.verifier(example.user.encode(), example.realm.encode(), example.password.encode())
    session = Session(example.algorithm, example.nonce, example.cnonce, Qop.AUTH, 1)
    ha1 = session.ha1(verifier)
    assert ha1.decode() == example.ha1
    assert session.response(ha1, "GET", example.uri, None) == example.response


def test_a_session_form_hashes_the_inner_hash_as_digits() -> None:
    """What deployed clients do; RFC 2617 5's sample code hashes raw octets."""
    session = Session(Algorithm.MD5_SESS, "n", "c", Qop.AUTH, 1)
    inner = hashlib.md5(b"u:r:p", usedforsecurity=False)
    expected = hashlib.md5(inner.hexdigest().encode() + b":n:c", usedforsecurity=False).hexdigest()
    assert session.ha1(inner.digest()).decode() == expected


def test_auth_int_covers_the_content() -> None:
    """RFC 7616 3.4.3."""
    session = Session(Algorithm.SHA_256, "n", "c", Qop.AUTH_INT, 255)

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    a2 = sha("POST:/x:" + hashlib.sha256(b"content").hexdigest())
    assert session.response(b"ha1", "POST", "/x", b"content") == sha(f"ha1:n:000000ff:c:auth-int:{a2}")
    assert session.response(b"ha1", "POST", "/x", None) == session.response(b"ha1", "POST", "/x", b"")


@pytest.mark.parametrize(
    ("token", "algorithm"),
    [
        (None, Algorithm.MD5),
        ("md5", Algorithm.MD5),
        ("MD5-Sess", Algorithm.MD5_SESS),
        ("SHA-256", Algorithm.SHA_256),
        ("SHA-512-256-sess", Algorithm.SHA_512_256_SESS),
        ("SHA-512", None),
        ("", None),
    ],
)
def test_algorithms_by_name(token: str | None, algorithm: Algorithm | None) -> None:
    assert Algorithm.named(token) is algorithm


def test_strength_puts_sha_2_above_md5() -> None:
    strengths = [algorithm.strength for algorithm in Algorithm]
    assert strengths == sorted(strengths)
    assert Algorithm.MD5_SESS.strength < Algorithm.SHA_256.strength < Algorithm.SHA_512_256.strength


def test_digits_of_either_case_are_equal() -> None:
    assert equal("ABCDEF", "abcdef")
    assert not equal("abcdef0", "abcdef")
    assert not equal("é", "abcdef")
