"""Fields of HTTP Digest: what is quoted, what is read, what is refused (RFC 7616 3.3-3.5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.http.fields import parse_authorization, parse_challenges
from securestream_providers.digest.algorithms import Algorithm, Qop
from securestream_providers.digest.messages import DigestChallenge, DigestInfo, DigestResponse
from tests.providers.digest.ends import with_parameter

RFC_CHALLENGE = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC_RESPONSE = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=MD5, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="8ca523f5e9506fed4657c9700eebdbec", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
HASHED = (
    'Digest username="488869477bf257147b804c45308cd62ac4e25eb717b12b298c79e62dcea254ec", realm="api@example.org", '
    'uri="/doe.json", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", nc=00000001, '
    'cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v", qop=auth, '
    'response="ae66e67d6b427bd3f120414a82e4acff38e8ecd9101d6c861229025f607a79dd", '
    'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", userhash=true'
)


def challenge(text: str) -> DigestChallenge:
    return DigestChallenge.parse(parse_challenges([text])[0])


def response(text: str) -> DigestResponse:
    authorization = parse_authorization([text])
    assert authorization is not None
    return DigestResponse.parse(authorization)


# --- challenges


def test_the_challenge_of_rfc_7616_3_9_1() -> None:
    parsed = challenge(RFC_CHALLENGE)
    assert parsed == DigestChallenge(
        realm="http-auth@example.org",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        algorithm=Algorithm.SHA_256,
        qops=(Qop.AUTH, Qop.AUTH_INT),
        opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    )


def test_a_challenge_is_quoted_as_rfc_7616_3_3_says() -> None:
    made = DigestChallenge(
        "r",
        "n",
        Algorithm.SHA_256,
        (Qop.AUTH, Qop.AUTH_INT),
        "o",
        stale=True,
        domain="/a /b",
        utf_8=True,
        userhash=True,
    )
    assert made.encode() == (
        'Digest realm="r", qop="auth,auth-int", algorithm=SHA-256, nonce="n", opaque="o", domain="/a /b", stale=true, '
        "charset=UTF-8, userhash=true"
    )
    assert challenge(made.encode()) == made


@pytest.mark.parametrize(
    ("text", "algorithm", "qops"),
    [
        ('Digest realm="r", nonce="n"', Algorithm.MD5, ()),
        ('DIGEST realm="r", nonce="n", algorithm="sha-256", qop=auth', Algorithm.SHA_256, (Qop.AUTH,)),
        ('Digest realm="r", nonce="n", algorithm=SHA3, qop="auth-conf,AUTH,future"', None, (Qop.AUTH,)),
    ],
)
def test_what_other_servers_send_is_read(text: str, algorithm: Algorithm | None, qops: tuple[Qop, ...]) -> None:
    parsed = challenge(text)
    assert (parsed.algorithm, parsed.qops) == (algorithm, qops)


@pytest.mark.parametrize(("value", "stale"), [("true", True), ("TRUE", True), ('"true"', True), ("false", False)])
def test_stale_is_what_says_true(value: str, stale: bool) -> None:
    assert challenge(f'Digest realm="r", nonce="n", stale={value}').stale is stale


@pytest.mark.parametrize(
    "text",
    [
        'Digest nonce="n"',
        'Digest realm="r"',
        "Digest",
        "Digest YWJj",
        f'Digest realm="{"r" * 5000}", nonce="n"',
        f'Digest realm="r", nonce="{"n" * 5000}"',
        f'Digest realm="r", nonce="n", opaque="{"o" * 5000}"',
    ],
)
def test_a_challenge_without_realm_or_nonce_or_too_long_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        challenge(text)


# --- responses


def test_the_responses_of_rfc_7616_3_9() -> None:
    parsed = response(RFC_RESPONSE)
    assert (parsed.username, parsed.uri, parsed.algorithm, parsed.qop) == (
        *("Mufasa", "/dir/index.html", Algorithm.MD5, Qop.AUTH),
    )
    assert (parsed.nc, parsed.response, parsed.userhash) == (1, "8ca523f5e9506fed4657c9700eebdbec", False)
    hashed = response(HASHED)
    assert hashed.userhash
    assert hashed.username == "488869477bf257147b804c45308cd62ac4e25eb717b12b298c79e62dcea254ec"


def test_a_response_is_quoted_as_rfc_7616_3_4_says() -> None:
    parsed = response(RFC_RESPONSE)
    assert parsed.encode() == (
        'Digest username="Mufasa", realm="http-auth@example.org", '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", uri="/dir/index.html", '
        'response="8ca523f5e9506fed4657c9700eebdbec", algorithm=MD5, qop=auth, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", nc=00000001, '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    assert response(response(HASHED).encode()) == response(HASHED)


def test_names_beyond_ascii_travel_as_username_star_or_as_octets() -> None:
    """RFC 7616 3.4, 3.4.4, 4."""
    made = replace(response(RFC_RESPONSE), username="Jäsøn Doe", extended=True)
    assert "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, realm" in made.encode()
    assert response(made.encode()) == made
    plain = replace(made, extended=False)
    assert 'username="J\xc3\xa4s\xc3\xb8n Doe"' in plain.encode()
    assert response(plain.encode()) == plain
    assert response(RFC_RESPONSE.replace("Mufasa", "J\xe4s\xf8n")).username == "Jäsøn", "ISO 8859-1, of old clients"
    quoted = replace(plain, username='CORP\\al"ice')
    assert response(quoted.encode()).username == 'CORP\\al"ice'


def test_a_name_that_would_end_the_field_is_never_written() -> None:
    with pytest.raises(UsageError):
        replace(response(RFC_RESPONSE), username="alice\r\nX-Injected: 1").encode()


@pytest.mark.parametrize("name", ["username", "realm", "nonce", "uri", "response", "qop", "cnonce", "nc"])
def test_a_response_without_one_of_its_parameters_is_malformed(name: str) -> None:
    with pytest.raises(MalformedMessage):
        response(with_parameter(RFC_RESPONSE, name, None))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nc", "1"),
        ("nc", "0000000g"),
        ("nc", "000000001"),
        ("response", '"xyz"'),
        ("response", '"8ca523"'),
        ("qop", "auth-conf"),
        ("algorithm", "SHA-512"),
        ("username", f'"{"x" * 5000}"'),
        ("uri", f'"{"x" * 40000}"'),
        ("cnonce", f'"{"x" * 5000}"'),
        ("username", "\"Mufasa\", username*=UTF-8''Mufasa"),
        ("username", '"Mufasa", username="Scar"'),
        ("username", "username*=UTF-8''Mufasa, userhash=true"),
        ("username*", "ISO-8859-1''Mufasa"),
        ("username*", "UTF-8''%FF"),
        ("username*", "UTF-8''100%"),
        ("username*", "Mufasa"),
    ],
)
def test_a_response_with_a_parameter_that_is_none_is_malformed(name: str, value: str) -> None:
    text = RFC_RESPONSE
    if name == "username*":
        name, value = "username", f"{value}, x=y"
        text = with_parameter(text, name, f'"", username*={value}').replace('username="", ', "")
    elif value.startswith("username*"):
        text = RFC_RESPONSE.replace('username="Mufasa"', value)
    else:
        text = with_parameter(text, name, value)
    with pytest.raises(MalformedMessage):
        response(text)


# --- Authentication-Info


def test_information_comes_back_and_is_quoted_as_rfc_7616_3_5_says() -> None:
    made = DigestInfo("ab" * 16, Qop.AUTH_INT, "cn", 17, "next")
    assert made.encode() == f'nextnonce="next", qop=auth-int, rspauth="{"ab" * 16}", cnonce="cn", nc=00000011'
    assert DigestInfo.parse((made.encode(),)) == made
    assert DigestInfo.parse(tuple(made.encode().split(", "))) == made, "in several fields"
    assert DigestInfo.parse(()) == DigestInfo()
    assert DigestInfo.parse(("future=1",)) == DigestInfo()


@pytest.mark.parametrize("text", ["nc=1", f'nextnonce="{"n" * 5000}"', "rspauth", 'nc=00000001, nc="00000001"'])
def test_information_that_is_none_is_malformed(text: str) -> None:
    with pytest.raises(MalformedMessage):
        DigestInfo.parse((text,))


def test_no_octet_of_a_proof_is_shown() -> None:
    shown = repr(response(RFC_RESPONSE)) + repr(challenge(RFC_CHALLENGE)) + repr(DigestInfo("ab" * 16))
    for secret in ("8ca523f5e9506fed4657c9700eebdbec", "7ypf", "FQhe", "Mufasa", "ab" * 16):
        assert secret not in shown
