"""Properties of HTTP Digest: whatever is said comes back, and both ends compute the same for any of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from securestream.errors import HandshakeError, MalformedMessage
from securestream.http.fields import parse_authorization, parse_challenges
from securestream.redaction import Secret
from securestream_providers.digest.algorithms import Algorithm, Qop
from securestream_providers.digest.counts import LARGEST, WINDOW, Window
from securestream_providers.digest.messages import DigestChallenge, DigestInfo, DigestResponse
from securestream_providers.digest.nonces import Judgement, Nonces
from tests.providers.digest.ends import KEY, START, Web, World, accounts, get, make_client, make_server

FIELD = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=60)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=":\\"), min_size=1, max_size=20)
OPTIONAL = st.none() | FIELD
QOPS = st.lists(st.sampled_from(Qop), unique=True).map(tuple)
COUNTS = st.integers(1, LARGEST)

CHALLENGES = st.builds(
    DigestChallenge,
    realm=FIELD,
    nonce=FIELD,
    algorithm=st.sampled_from(Algorithm),
    qops=QOPS,
    opaque=OPTIONAL,
    stale=st.booleans(),
    domain=FIELD,
    utf_8=st.booleans(),
    userhash=st.booleans(),
)
RESPONSES = st.builds(
    DigestResponse,
    username=NAMES,
    realm=FIELD,
    nonce=FIELD,
    uri=FIELD,
    response=st.text("0123456789abcdef", min_size=32, max_size=64),
    algorithm=st.sampled_from(Algorithm),
    qop=st.sampled_from(Qop),
    cnonce=FIELD,
    nc=COUNTS,
    opaque=OPTIONAL,
    extended=st.booleans(),
)
INFORMATION = st.builds(
    DigestInfo,
    rspauth=st.none() | st.text("0123456789abcdef", max_size=64),
    qop=st.none() | st.sampled_from(Qop),
    cnonce=OPTIONAL,
    nc=st.none() | COUNTS,
    nextnonce=OPTIONAL,
)
quick = settings(max_examples=60, deadline=None)


@quick
@given(CHALLENGES, CHALLENGES)
def test_challenges_come_back_alone_and_beside_others(first: DigestChallenge, second: DigestChallenge) -> None:
    both = parse_challenges([f"{first.encode()}, Basic realm=x, {second.encode()}"])
    assert [DigestChallenge.parse(both[0]), DigestChallenge.parse(both[2])] == [first, second]


@quick
@given(RESPONSES)
def test_responses_come_back(response: DigestResponse) -> None:
    authorization = parse_authorization([response.encode()])
    assert authorization is not None
    parsed = DigestResponse.parse(authorization)
    assert replace(parsed, username="") == replace(response, username="")
    assert replace(response, username=parsed.username).encode() == response.encode(), "names are normalised, no more"


@quick
@given(INFORMATION)
def test_information_comes_back(information: DigestInfo) -> None:
    assert DigestInfo.parse((information.encode(),)) == information


@settings(max_examples=25, deadline=None)
@given(NAMES, st.text(max_size=20), st.sampled_from(Algorithm), st.booleans(), st.binary(max_size=20), FIELD)
def test_both_ends_agree_on_any_name_password_and_content(
    name: str, password: str, algorithm: Algorithm, userhash: bool, body: bytes, path: str
) -> None:
    password = password.encode("utf-8", "replace").decode()
    server = make_server(
        credential=accounts(**{name: password}), algorithms=[algorithm], qops=[Qop.AUTH_INT], userhash=userhash
    )
    client = make_client(name=name, password=password, algorithms=[algorithm], qops=[Qop.AUTH_INT], userhash=userhash)
    web = Web(World(), server, body=body)
    web.fetch(client, get(f"/{path}", method="POST", body=body))
    assert [outcome.peer.name for outcome in web.served] == [name]


@quick
@given(st.lists(st.integers(1, 3 * WINDOW) | COUNTS, max_size=60))
def test_no_count_is_used_twice(counts: list[int]) -> None:
    window, used = Window(), set[int]()
    for count in counts:
        after = window.use(count)
        if count in used:
            assert after is None
        if after is not None:
            used.add(count)
            window = after
    assert window.highest == max(used, default=0)


@quick
@given(st.text(max_size=80), st.binary(min_size=12, max_size=12), st.integers(-(10**6), 10**6))
def test_only_what_was_made_is_good(text: str, random: bytes, milliseconds: int) -> None:
    nonces = Nonces(Secret(KEY), "r", timedelta(minutes=5))
    assert nonces.judge(text, START).judgement is Judgement.FOREIGN
    judged = nonces.judge(nonces.make(START, random), START + timedelta(milliseconds=milliseconds))
    good = -30_000 <= milliseconds < 300_000
    assert judged.judgement is (Judgement.GOOD if good else Judgement.OLD)


@quick
@given(st.data())
def test_any_damage_of_credentials_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    world = World()
    web = Web(world, make_server())
    sent = web.fetch(make_client(), get()).sent[0]
    at = data.draw(st.integers(0, len(sent) - 1))
    damaged = sent[:at] + data.draw(st.sampled_from('0aZ", =\\')) + sent[at + 1 :]
    try:
        authorization = parse_authorization([damaged])
        assert authorization is not None
        if not authorization.is_scheme("Digest"):
            return
        outcome = World().drive(web.server.accept(replace(get(), authorization=authorization), world.options))
    except (HandshakeError, MalformedMessage):
        return
    assert outcome.peer.name == "alice"
    assert DigestResponse.parse(authorization).response.lower() in sent
