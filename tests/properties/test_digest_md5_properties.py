"""Properties of SASL DIGEST-MD5: messages say again what they said, names of any letters work, layers are inverse."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from securestream.credentials import Password
from securestream.options import Protection, Role
from securestream.redaction import Secret
from securestream_providers.digest.sasl_crypto import Cipher
from securestream_providers.digest.sasl_layer import DigestMd5Layer
from securestream_providers.digest.sasl_messages import SaslChallenge, SaslResponse
from tests.core.sasl.ends import PASSWORD
from tests.providers.digest.sasl_ends import authenticate, client, named_accounts, options, server

TEXT = st.text(st.characters(exclude_categories=["C"]), max_size=40)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=":\\"), min_size=1, max_size=20)
NONCES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), min_size=1, max_size=40
)
REALMS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"\\'), max_size=20)
PROTECTIONS = st.sampled_from(Protection)
CIPHERS = st.sampled_from(Cipher)
quick = settings(max_examples=60, deadline=None)

CHALLENGES = st.builds(
    SaslChallenge,
    nonce=NONCES,
    realms=st.lists(TEXT, max_size=3).map(tuple),
    protections=st.lists(PROTECTIONS, min_size=1, unique=True).map(tuple),
    ciphers=st.lists(CIPHERS, min_size=1, unique=True).map(tuple),
    max_buffer=st.integers(0, 0xFFFFFF),
    stale=st.booleans(),
)
RESPONSES = st.builds(
    SaslResponse,
    user=TEXT.filter(bool),
    realm=st.none() | TEXT,
    nonce=NONCES,
    cnonce=NONCES,
    count=st.integers(0, 0xFFFFFFFF),
    uri=NONCES,
    protection=PROTECTIONS,
    response=st.text("0123456789abcdef", min_size=32, max_size=32),
    max_buffer=st.integers(0, 0xFFFFFF),
    authzid=st.none() | TEXT,
)


@quick
@given(CHALLENGES)
def test_challenges_say_again_what_they_said(challenge: SaslChallenge) -> None:
    again = SaslChallenge.unpack(challenge.pack())
    assert again.pack() == challenge.pack()
    assert (again.nonce, again.realms, again.protections) == (challenge.nonce, challenge.realms, challenge.protections)


@quick
@given(RESPONSES)
def test_responses_say_again_what_they_said(response: SaslResponse) -> None:
    again = SaslResponse.unpack(response.pack())
    assert again.pack() == response.pack()
    assert (again.user, again.realm, again.authzid) == (response.user, response.realm, response.authzid)


@settings(max_examples=25, deadline=None)
@given(NAMES, REALMS, PROTECTIONS, CIPHERS)
def test_any_name_logs_on_to_any_realm(name: str, realm: str, protection: Protection, cipher: Cipher) -> None:
    realms = (realm,) if realm else ()
    met = authenticate(
        client(ciphers=[cipher]),
        server(realms=realms),
        Password(name, PASSWORD),
        accepting=named_accounts(name),
        mine=options(protection, 1),
    )
    assert [layer.protection for layer in met.layers] == [protection] * 2


@quick
@given(st.none() | CIPHERS, st.lists(st.binary(max_size=200), max_size=6), st.binary(min_size=16, max_size=16))
def test_layers_are_inverse(cipher: Cipher | None, messages: list[bytes], key: bytes) -> None:
    one, other = (
        DigestMd5Layer("DIGEST-MD5", role, Secret(key), cipher, peer_buffer=65536, own_buffer=65536) for role in Role
    )
    for message in messages:
        sealed = one.wrap(message)
        assert len(message) + 16 <= len(sealed) <= len(message) + one.sizes.wrap_overhead
        assert other.unwrap(sealed).data == message
        assert one.unwrap(other.wrap(message)).data == message
