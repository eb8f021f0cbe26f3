"""The grammar of challenges and credentials (RFC 9110 11, RFC 7615)."""

from __future__ import annotations

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.http.fields import (
    CHALLENGES,
    FIELD_SIZE,
    PARAMETERS,
    Authorization,
    Challenge,
    Parameter,
    encode_information,
    encode_parameters,
    encode_token,
    parse_authorization,
    parse_challenges,
    parse_information,
    quote,
)

Parsed = tuple[str, str | None, tuple[tuple[str, str], ...]]

LISTS: list[tuple[str | bytes | list[str | bytes], list[Parsed]]] = [
    ("", []),
    (" , ,", []),
    ("Negotiate", [("Negotiate", None, ())]),
    ("Negotiate , NTLM", [("Negotiate", None, ()), ("NTLM", None, ())]),
    ("Negotiate YII=", [("Negotiate", "YII=", ())]),
    ("Negotiate  YII==\t", [("Negotiate", "YII==", ())]),
    ("Negotiate YII=,NTLM", [("Negotiate", "YII=", ()), ("NTLM", None, ())]),
    (["Negotiate", b"NTLM TlRM"], [("Negotiate", None, ()), ("NTLM", "TlRM", ())]),
    ('Basic realm="a, b=\\"c\\\\"', [("Basic", None, (("realm", 'a, b="c\\'),))]),
    (  # RFC 9110 11.6.1
        'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
        [
            ("Basic", None, (("realm", "simple"),)),
            ("Newauth", None, (("realm", "apps"), ("type", "1"), ("title", 'Login to "apps"'))),
        ],
    ),
    ("Digest REALM = x ,, nonce=y,NTLM", [("Digest", None, (("realm", "x"), ("nonce", "y"))), ("NTLM", None, ())]),
    (
        "A YII= more, B realm=",
        [("A", None, (("yii", "more"),)), ("B", "realm=", ())],
    ),  # by the grammar, if not by sense
    ("Digest realm=x, nonce", [("Digest", None, (("realm", "x"),)), ("nonce", None, ())]),
    (b'Digest realm="\xc3\xa9"', [("Digest", None, (("realm", "\u00c3\u00a9"),))]),
    ('Digest realm=""', [("Digest", None, (("realm", ""),))]),
]

MALFORMED = [
    "Negotiate =",
    "Negotiate YI I=",
    'Digest realm="open',
    'Digest realm="a"b',
    "Digest realm=a b",
    "Digest realm=x, realm=y",
    "Digest realm=x, REALM=y",
    'Digest "realm"',
    "Digest=x",
    "(comment)",
    'Digest realm="\x01"',
    'Digest realm="\u20ac"',
    "Digest\u00e9 realm=x",
    "Digest realm=x; nonce=y",
    "a/b",
]


def _shown(values: tuple[Challenge, ...]) -> list[Parsed]:
    return [(one.scheme, one.token68, one.parameters) for one in values]


@pytest.mark.parametrize(("text", "expected"), LISTS)
def test_lists_of_challenges(text: str | bytes | list[str | bytes], expected: list[Parsed]) -> None:
    assert _shown(parse_challenges(text)) == expected


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_challenges(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_challenges(text)


def test_several_fields_are_one_list() -> None:
    assert _shown(parse_challenges(["Negotiate, NTLM", "Digest realm=x"])) == _shown(
        parse_challenges("Negotiate, NTLM, Digest realm=x")
    )


def test_bounds() -> None:
    assert len(parse_challenges(["Negotiate"] * CHALLENGES)) == CHALLENGES
    parameters = ",".join(f"p{number}=x" for number in range(PARAMETERS))
    assert len(parse_challenges("A " + parameters)[0].parameters) == PARAMETERS
    longest = "Negotiate " + "A" * (FIELD_SIZE - 10)
    assert parse_challenges(longest)[0].token68 is not None
    for text in (
        ["Negotiate"] * (CHALLENGES + 1),
        "Negotiate," * (CHALLENGES + 1),
        f"A {parameters},one=more",
        longest + "A",
        ["Negotiate " + "A" * (FIELD_SIZE // 2)] * 2,
    ):
        with pytest.raises(MalformedMessage):
            parse_challenges(text)


@pytest.mark.parametrize("filler", ["A", "=", ",", " ", "\\", '"', "a=", 'a="', ", ", "A B,", "\t,"])
def test_no_text_takes_long(filler: str) -> None:
    """What an unauthenticated peer may send is looked at in linear time: a second would be a thousandfold of it."""
    for text in ("A " + filler * 30_000, 'A a="' + filler * 30_000, "A b" + filler * 30_000 + "!"):
        try:
            parse_challenges(text[:FIELD_SIZE])
        except MalformedMessage:
            pass


def test_names_and_schemes_have_no_case() -> None:
    challenge = parse_challenges("dIgEsT Realm=X")[0]
    assert challenge.is_scheme("Digest")
    assert not challenge.is_scheme("Digest2")
    assert challenge.parameter("realm") == "X"
    assert challenge.parameter("nonce") is None


def test_authorization_is_one_scheme_in_one_field() -> None:
    assert parse_authorization([]) is None
    found = parse_authorization("Negotiate YWJj")
    assert isinstance(found, Authorization)
    assert found.token == b"abc"
    for values in (["Negotiate YWJj", "Negotiate YWJj"], ["Negotiate, NTLM"], [""], ["Negotiate YWJj, Digest a=b"]):
        with pytest.raises(MalformedMessage):
            parse_authorization(values)


@pytest.mark.parametrize("text", ["YWJ", "YWJj=", "Y-_j", "YW.j", "YWJj===="])
def test_tokens_are_base64_with_padding(text: str) -> None:
    challenge = parse_challenges(f"Negotiate {text}")[0]
    with pytest.raises(MalformedMessage):
        _ = challenge.token


def test_no_token_is_not_an_empty_one() -> None:
    assert parse_challenges("Negotiate")[0].token is None


def test_information() -> None:
    assert parse_information('rspauth="x", QOP=auth , ,nc=00000001') == {
        "rspauth": "x",
        "qop": "auth",
        "nc": "00000001",
    }
    assert parse_information(["a=b", "c=d"]) == {"a": "b", "c": "d"}
    assert parse_information("") == {}
    for text in ("a=b, a=c", "Digest a=b", "a", "a=b c=d", "a=b,=c"):
        with pytest.raises(MalformedMessage):
            parse_information(text)


def test_what_is_written_is_read() -> None:
    parameters = [Parameter("realm", 'a "b" \\ c, d=e'), Parameter("algorithm", "SHA-256", quoted=False)]
    assert _shown(parse_challenges(encode_parameters("Digest", parameters)))[0] == (
        "Digest",
        None,
        (("realm", 'a "b" \\ c, d=e'), ("algorithm", "SHA-256")),
    )
    assert parse_information(encode_information(parameters))["realm"] == 'a "b" \\ c, d=e'
    assert parse_challenges(encode_token("Negotiate", b"\0\1"))[0].token == b"\0\1"
    assert encode_token("Negotiate") == "Negotiate"


@pytest.mark.parametrize("value", ["a\r\nb", "\0", "\x7f", "\u20ac"])
def test_nothing_is_written_that_would_end_the_field(value: str) -> None:
    with pytest.raises(UsageError):
        quote(value)
    with pytest.raises(UsageError):
        Parameter("a", value, quoted=False).encode()
    with pytest.raises(UsageError):
        Parameter(f"a{value}", "b").encode()


def test_nothing_secret_is_shown() -> None:
    value = parse_authorization('Digest response="c0ffee", username=alice')
    assert "c0ffee" not in repr(value)
    assert "YWJj" not in repr(parse_authorization("Negotiate YWJj"))
