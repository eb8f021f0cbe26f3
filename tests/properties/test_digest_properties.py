"""Properties of HTTP Digest: whatever is said comes back, and both ends compute the same for any of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securestream.channel_bindings import ChannelBindings
from securestream.errors import HandshakeError, MalformedMessage, PeerRefused
from securestream.http.fields import parse_authorization, parse_challenges
from securestream.options import BindingPolicy
from securestream.provider import SecurityContext
from securestream.redaction import Secret
from securestream_providers.digest.algorithms import Algorithm, Qop
from securestream_providers.digest.bindings import VERSION_1, DigestBinding
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
BINDINGS = st.builds(
    DigestBinding,
    service_name=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60),
    channel_binding=st.binary(min_size=16, max_size=16).map(bytes.hex),
)
CHANNELS = st.none() | st.binary(max_size=40).map(ChannelBindings)
ALICE = accounts()
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
@given(RESPONSES, BINDINGS, st.binary(max_size=20))
def test_bound_responses_come_back_and_none_with_another_cnonce(
    response: DigestResponse, binding: DigestBinding, random: bytes
) -> None:
    bound = replace(response, binding=binding, cnonce=binding.cnonce(random))
    authorization = parse_authorization([bound.encode()])
    assert authorization is not None
    assert DigestResponse.parse(authorization).binding == binding
    for cnonce in (response.cnonce, replace(binding, service_name=f"{binding.service_name}x").cnonce(random)):
        other = parse_authorization([replace(bound, cnonce=cnonce).encode()])
        assert other is not None
        with pytest.raises(MalformedMessage):
            DigestResponse.parse(other)


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


@settings(max_examples=40, deadline=None)
@given(CHANNELS, CHANNELS, st.sampled_from(BindingPolicy), st.sampled_from(Algorithm))
def test_who_is_bound_is_in_the_same_channel_and_who_is_in_another_is_let_in_by_no_policy_but_never(
    here: ChannelBindings | None, there: ChannelBindings | None, policy: BindingPolicy, algorithm: Algorithm
) -> None:
    if here is None and policy is BindingPolicy.ALWAYS:
        return
    world = World()
    own = replace(world.options, channel_bindings=here, binding_policy=policy)
    web = Web(world, make_server(credential=ALICE, algorithms=[algorithm]), options=own)
    try:
        web.fetch(make_client(algorithms=[algorithm]), get(), replace(world.options, channel_bindings=there))
    except PeerRefused:
        assert here != there
        assert policy is not BindingPolicy.NEVER
        return
    (outcome,) = web.served
    assert isinstance(outcome.result, SecurityContext)
    assert outcome.result.bound is (here is not None and here == there and policy is not BindingPolicy.NEVER)
    if not outcome.result.bound:
        assert (
            here is None or policy is BindingPolicy.NEVER or (there is None and policy is BindingPolicy.WHEN_SUPPORTED)
        )


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
    marked = Nonces(Secret(KEY), "r", timedelta(minutes=5), marked=True)
    assert marked.judge(text, START).judgement is Judgement.FOREIGN
    for made, maker in ((marked.make(START, random), marked), (nonces.make(START, random), nonces)):
        for shown in (made, made.removeprefix(VERSION_1), VERSION_1 + made):
            for judge in (marked, nonces):
                own = shown == made and judge is maker
                assert judge.judge(shown, START).judgement is (Judgement.GOOD if own else Judgement.FOREIGN)


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
