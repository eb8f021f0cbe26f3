"""Properties of CredSSP: what is written is read; however octets are cut, and whatever comes, an end decides alike."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from securestream.credentials import Credential, Password
from securestream.errors import HandshakeError, MalformedMessage, PeerGone, PeerRefused, SecureStreamError
from securestream.redaction import Secret
from securestream_providers.credssp import PackageCredential, RemoteGuard, SmartCard, credentials
from securestream_providers.credssp.messages import NegoToken, TSRequest
from tests.providers.credssp.ends import ALICE, End, Ends, clear_ends, meet, options, start

octets = st.binary(max_size=40)
requests = st.builds(
    TSRequest,
    st.integers(0, 0x7FFFFFFF),
    st.none() | st.lists(st.builds(NegoToken, octets), min_size=1, max_size=8).map(tuple),
    st.none() | octets,
    st.none() | octets,
    st.none() | st.integers(-(1 << 31), (1 << 31) - 1),
    st.none() | octets,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = texts.filter(lambda name: name and "\\" not in name)
packages = st.builds(PackageCredential, texts, octets.map(Secret))
maybe = st.none() | texts


def _password(domain: str, user: str, password: str) -> Password:
    return Password(f"{domain}\\{user}" if domain else user, password)


passwords = st.builds(_password, names | st.just(""), names, texts)
delegated: st.SearchStrategy[Credential] = st.one_of(
    passwords,
    st.builds(SmartCard, texts.map(Secret), st.integers(0, 0xFFFFFFFF), maybe, maybe, maybe, maybe, maybe, maybe),
    st.builds(RemoteGuard, packages, st.lists(packages, max_size=4).map(tuple)),
)


@given(requests)
def test_a_request_is_read_as_it_was_written(request: TSRequest) -> None:
    assert TSRequest.decode(request.encode()) == request


@given(delegated)
def test_a_credential_is_read_as_it_was_written(credential: Credential) -> None:
    assert credentials.decode(credentials.encode(credential)) == credential


@given(st.binary(max_size=200))
def test_anything_is_credentials_or_refused(octets: bytes) -> None:
    try:
        credentials.decode(octets)
    except (MalformedMessage, HandshakeError):
        pass


@given(st.data())
def test_however_the_octets_are_cut(data: st.DataObject) -> None:
    """Each end is stepped with pieces; between two of them it asks for more."""
    client, server = clear_ends()
    ends = start(client, server)
    token = ends.client.step()
    sender, receiver = ends.client, ends.server
    while token is not None:
        cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(token) - 1)), max_size=4)))
        first = len(sender.sent) == 1  # the stand-in's own handshake is not cut
        token = _give(receiver, token, [] if first else cuts)
        sender, receiver = receiver, sender
    assert ends.raise_any().delegated == ALICE


def _give(end: End, token: bytes, cuts: list[int]) -> bytes | None:
    parts = [token[a:b] for a, b in zip([0, *cuts], [*cuts, len(token)], strict=True) if a < b]
    out = None
    for part in parts:
        if end.over:
            break
        assert out is None, "an end spoke before it had the whole message"
        out = end.step(part)
    return out


@given(st.integers(0, 5), st.booleans(), st.binary(min_size=1, max_size=60))
def test_whatever_comes_is_refused_by_the_family(number: int, at_client: bool, octets: bytes) -> None:
    """At any moment, at either end; nothing else than our own errors, and nothing is delegated."""

    def meddle(role: object, which: int, token: bytes) -> bytes:
        ours = role is ends_role
        return octets if ours and which == number and token.startswith(b"\x30") else token

    client, server = clear_ends()
    probe = start(client, server, asked=options(3))
    ends_role = probe.server.role if at_client else probe.client.role
    ends: Ends = meet(client, server, meddle, asked=options(3))
    for end in (ends.client, ends.server):
        assert end.error is None or isinstance(end.error, HandshakeError | PeerRefused | PeerGone | SecureStreamError)
    if ends.server.established is not None:
        assert ends.delegated == ALICE
