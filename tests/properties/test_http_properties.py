"""Fields of HTTP authentication: what is written is read, in any cut into fields; damage fails closed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import InvalidToken, MalformedMessage, SecureStreamError
from securestream.http.client import HttpClient
from securestream.http.fields import (
    Challenge,
    Parameter,
    encode_information,
    encode_parameters,
    encode_token,
    parse_authorization,
    parse_challenges,
    parse_information,
)
from securestream.http.schemes import HttpField
from securestream.http.server import HttpServer
from tests.core.http.conversations import ORIGIN, Conversation, one_leg, three_legs

_TOKEN = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)
_TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12).filter(
    lambda text: not any(0x7F <= ord(character) < 0x80 for character in text)
)
_PARAMETERS = st.dictionaries(_TOKEN.map(str.lower), _TEXT, min_size=1, max_size=5).map(
    lambda found: tuple(found.items())
)


def _with_token(scheme: str, token: str) -> Challenge:
    return Challenge(scheme, token + "=")


def _with_parameters(scheme: str, parameters: tuple[tuple[str, str], ...]) -> Challenge:
    return Challenge(scheme, None, parameters)


_CHALLENGE = st.one_of(
    st.builds(Challenge, _TOKEN),
    st.builds(_with_token, _TOKEN, st.text("abc+/-._~", min_size=1)),
    st.builds(_with_parameters, _TOKEN, _PARAMETERS),
)


def _encode(challenge: Challenge) -> str:
    if challenge.parameters:
        return encode_parameters(challenge.scheme, [Parameter(name, value) for name, value in challenge.parameters])
    return challenge.scheme if challenge.token68 is None else f"{challenge.scheme} {challenge.token68}"


@given(st.lists(_CHALLENGE, max_size=5), st.data())
def test_any_cut_into_fields_is_the_same_list(challenges: list[Challenge], data: st.DataObject) -> None:
    fields: list[str] = []
    for challenge in challenges:
        joined = data.draw(st.sampled_from(["", ",", " ,", ", ,\t"]))
        if fields and joined:
            fields[-1] += joined + _encode(challenge)
        else:
            fields.append(joined + _encode(challenge))
    assert parse_challenges(fields) == tuple(challenges)


@given(_PARAMETERS)
def test_information_round_trip(parameters: tuple[tuple[str, str], ...]) -> None:
    written = encode_information([Parameter(name, value) for name, value in parameters])
    assert dict(parse_information(written)) == dict(parameters)


@given(_TOKEN, st.binary(min_size=1, max_size=100))
def test_token_round_trip(scheme: str, token: bytes) -> None:
    found = parse_authorization(encode_token(scheme, token))
    assert found is not None
    assert (found.scheme, found.token) == (scheme, token)


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60), st.text('aB1 ,="\\\t', max_size=60)))
def test_any_text_is_a_value_or_malformed(text: str | bytes) -> None:
    for parse in (parse_challenges, parse_authorization, parse_information):
        try:
            parse(text)
        except MalformedMessage:
            pass


@given(st.sampled_from(["One", "Three"]), st.integers(0, 200), st.integers(1, 255))
def test_any_damage_of_the_servers_tokens_fails_closed(name: str, at: int, mask: int) -> None:
    scheme = one_leg() if name == "One" else three_legs()

    def alter(number: int, fields: list[HttpField]) -> list[HttpField]:
        if number != 1:
            return fields
        field, value = fields[0]
        token = parse_challenges(value)[0].token
        assert token is not None
        place = at % len(token)
        return [
            HttpField(field, encode_token(name, token[:place] + bytes((token[place] ^ mask,)) + token[place + 1 :]))
        ]

    talk = Conversation(HttpServer(scheme), HttpClient(ORIGIN, scheme), alter=alter)
    try:
        outcome = talk.fetch()
    except SecureStreamError:
        return
    assert outcome is None


@given(st.binary(max_size=40), st.sampled_from(["One", "Three", "Two", ""]))
def test_any_credentials_are_refused_or_malformed(token: bytes, name: str) -> None:
    talk = Conversation(HttpServer(one_leg(), three_legs()), HttpClient(ORIGIN, one_leg()))
    if (token, name) == (b"hello", "One"):
        return
    try:
        talk.ask(encode_token(name, token))
    except (MalformedMessage, InvalidToken):
        return
    assert talk.admitted is None
