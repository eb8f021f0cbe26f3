"""SASL GSSAPI and GS2-KRB5 with MIT krb5 through python-gssapi (RFC 4752, RFC 5801), either end being ours.

MIT's library makes and opens every token; what SASL does around it, which has no implementation there, stands here as
the specifications say it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from securestream.ambient import system_options
from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Keytab, Password
from securestream.drive import Services, respond_blocking
from securestream.errors import BadBindings
from securestream.options import ContextFlags, Options, Protection
from securestream.provider import Established
from securestream.sasl import Gs2Krb5, Gssapi, SaslClient, SaslLayer, SaslServer
from tests.interop.expected_sasl_mit import LAYERS, SASL
from tests.interop.kerberos_ends import PASSWORD, USER, Realm, service_of
from tests.interop.matrix import Filler
from tests.interop.peers import gssapi_krb5 as peers
from tests.interop.peers.foreign import Refused
from tests.interop.peers.gssapi_krb5 import MUTUAL, PROTECTED, KerberosPeer
from tests.interop.peers.mit_kdc import HOST, MitKdc

pytestmark = pytest.mark.interop

PEER = "python-gssapi"
LEVELS = dict(zip(LAYERS, Protection, strict=True))
BITS = dict(zip(LAYERS, (1, 2, 4), strict=True))
EVERY = b"\7" + (65536).to_bytes(3, "big")
TARGET = f"{service_of(18)}/{HOST}"
SEEN = {"none": "as alice", "integrity": "signed each way", "confidentiality": "sealed each way"}
FRAME = bytes.fromhex("06092a864886f712010202")
GOOD, EVIL = bytes(range(32)), bytes(32)


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of MIT's library."""
    return require(peers)


@pytest.fixture(scope="module")
def realm(version: str, mit_kdc: MitKdc) -> Realm:
    """The realm with its principals."""
    made = Realm(mit_kdc)
    made.populate()
    return made


@pytest.fixture(scope="module")
def theirs(realm: Realm) -> Iterator[KerberosPeer]:
    """MIT's end."""
    with KerberosPeer(realm.environment(18)) as peer:
        yield peer


class Ours:
    """Our end of an exchange, one message after another."""

    def __init__(self, end: SaslClient | SaslServer) -> None:
        self.end = end
        self._services = Services()

    def begin(self) -> bytes:
        """Our client's first response."""
        assert isinstance(self.end, SaslClient)
        return self.end.response(respond_blocking(self.end.machine, None, self._services)) or b""

    def answer(self, token: bytes) -> bytes | None:
        """What our end makes of a message."""
        if isinstance(self.end, SaslClient):
            step = respond_blocking(self.end.machine, self.end.challenged(token), self._services)
            return self.end.response(step)
        taken = self.end.received(token)
        assert isinstance(taken, bytes)
        return self.end.answer(respond_blocking(self.end.machine, taken, self._services)).data

    def succeeded(self, data: bytes | None = None) -> Established:
        """Our client's outcome."""
        assert isinstance(self.end, SaslClient)
        last = self.end.succeeded(data)
        if last is not None:
            self.end.response(respond_blocking(self.end.machine, last, self._services))
        return self.end.established


def client(realm: Realm, mechanism: type[Gssapi | Gs2Krb5], options: Options, plus: bool = False) -> Ours:
    """Our client, as the user."""
    made = Gssapi(realm.package()) if mechanism is Gssapi else Gs2Krb5(realm.package(), plus=plus)
    return Ours(SaslClient(made, options=options, credential=Password(realm.user, PASSWORD), target=TARGET))


def server(realm: Realm, mechanism: type[Gssapi | Gs2Krb5], options: Options, plus: bool = False) -> Ours:
    """Our server, with the service's keytab."""
    made = Gssapi(realm.package()) if mechanism is Gssapi else Gs2Krb5(realm.package(), plus=plus)
    return Ours(SaslServer(made, options=options, credential=Keytab(realm.kdc.default_keytab)))


def check_layer(established: Established, theirs: KerberosPeer, layer: str) -> None:
    """Data each way, at the level that was agreed on."""
    ours = established.result
    assert isinstance(ours, SaslLayer)
    assert ours.protection is LEVELS[layer]
    if layer == "none":
        return
    seals = layer == "confidentiality"
    for size in (1, 100, 5000):
        data = bytes(index % 251 for index in range(size))
        assert theirs.unwrap(ours.wrap(data)) == (data, seals)
        assert ours.unwrap(theirs.wrap(data, encrypt=seals)) == (data, seals)


@pytest.mark.parametrize("layer", LAYERS)
def test_gssapi_with_their_acceptor(
    realm: Realm, theirs: KerberosPeer, version: str, layer: str, matrix: Filler
) -> None:
    ours = client(realm, Gssapi, system_options(protection=LEVELS[layer]))
    theirs.accept()
    reply = theirs.step(ours.begin())
    assert theirs.complete
    assert reply is not None
    assert ours.answer(reply) == b""
    choice = ours.answer(theirs.wrap(EVERY, encrypt=False))
    assert choice is not None
    chosen, sealed = theirs.unwrap(choice)
    assert not sealed
    assert chosen == bytes((BITS[layer],)) + (0 if layer == "none" else 65536).to_bytes(3, "big")
    check_layer(ours.succeeded(), theirs, layer)
    assert theirs.peer() == realm.user
    matrix.fill(SASL, PEER, version, "acceptor", f"GSSAPI, {layer}", SEEN[layer])


@pytest.mark.parametrize("layer", LAYERS)
def test_gssapi_with_their_initiator(
    realm: Realm, theirs: KerberosPeer, version: str, layer: str, matrix: Filler
) -> None:
    ours = server(realm, Gssapi, system_options(protection=LEVELS[layer]))
    theirs.initiate(f"{service_of(18)}@{HOST}", flags=(MUTUAL, *PROTECTED))
    token = theirs.step(None)
    assert token is not None
    reply = ours.answer(token)
    assert reply is not None
    assert theirs.step(reply) is None
    assert theirs.complete
    offer = ours.answer(b"")
    assert offer is not None
    offered, sealed = theirs.unwrap(offer)
    assert not sealed
    assert offered[0] & BITS[layer]
    assert offered[1:] == (65536).to_bytes(3, "big")
    choice = bytes((BITS[layer],)) + (0 if layer == "none" else 4096).to_bytes(3, "big") + realm.user.encode()
    assert ours.answer(theirs.wrap(choice, encrypt=False)) is None
    established = ours.end.established
    assert established.peer.name == USER
    if layer != "none":
        assert isinstance(established.result, SaslLayer)
        longest = established.result.wrap(bytes(established.result.max_plaintext))
        assert len(longest) <= 4096
        assert theirs.unwrap(longest) == (bytes(established.result.max_plaintext), layer == "confidentiality")

    matrix.fill(SASL, PEER, version, "initiator", f"GSSAPI, {layer}", SEEN[layer])


def stripped(token: bytes) -> bytes:
    """A first token without its frame (RFC 5801 4)."""
    return token[token.index(FRAME) + len(FRAME) :]


def restored(token: bytes) -> bytes:
    """And with it again; the lengths here take two octets each."""
    body = FRAME + token
    return b"\x60\x82" + len(body).to_bytes(2, "big") + body


def bound(channel: bytes | None) -> Options:
    """Options of an end on a channel, or on none."""
    bindings = None if channel is None else ChannelBindings(b"tls-exporter:" + channel)
    return system_options(protection=Protection.NONE, channel_bindings=bindings)


@pytest.mark.parametrize("plus", [False, True])
def test_gs2_with_their_acceptor(realm: Realm, theirs: KerberosPeer, version: str, plus: bool, matrix: Filler) -> None:
    ours = client(realm, Gs2Krb5, bound(GOOD if plus else None), plus)
    header = b"p=tls-exporter,," if plus else b"n,,"
    first = ours.begin()
    assert first.startswith(header)
    theirs.accept(bindings=header + (GOOD if plus else b""))
    reply = theirs.step(restored(first[len(header) :]))
    assert theirs.complete
    established = ours.succeeded(reply)
    assert isinstance(established.result, SaslLayer)
    assert ContextFlags.MUTUAL in established.result.flags
    assert established.result.session_key == theirs.session_key()
    assert theirs.peer() == realm.user
    matrix.fill(SASL, PEER, version, "acceptor", f"GS2-KRB5{'-PLUS' if plus else ''}", "as alice")


@pytest.mark.parametrize("plus", [False, True])
def test_gs2_with_their_initiator(realm: Realm, theirs: KerberosPeer, version: str, plus: bool, matrix: Filler) -> None:
    ours = server(realm, Gs2Krb5, bound(GOOD if plus else None), plus)
    header = b"p=tls-exporter,," if plus else b"n,,"
    theirs.initiate(f"{service_of(18)}@{HOST}", flags=(MUTUAL,), bindings=header + (GOOD if plus else b""))
    token = theirs.step(None)
    assert token is not None
    reply = ours.answer(header + stripped(token))
    assert reply is not None
    assert theirs.step(reply) is None
    assert theirs.complete
    assert ours.end.established.peer.name == USER
    matrix.fill(SASL, PEER, version, "initiator", f"GS2-KRB5{'-PLUS' if plus else ''}", "as alice")


def test_gs2_of_another_channel_is_refused_by_them(
    realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler
) -> None:
    ours = client(realm, Gs2Krb5, bound(GOOD), plus=True)
    header = b"p=tls-exporter,,"
    theirs.accept(bindings=header + EVIL)
    with pytest.raises(Refused):
        theirs.step(restored(ours.begin()[len(header) :]))
    matrix.fill(SASL, PEER, version, "acceptor", "GS2-KRB5-PLUS, wrong channel", "refused")


def test_gs2_of_another_channel_is_refused_by_us(
    realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler
) -> None:
    ours = server(realm, Gs2Krb5, bound(GOOD), plus=True)
    header = b"p=tls-exporter,,"
    theirs.initiate(f"{service_of(18)}@{HOST}", flags=(MUTUAL,), bindings=header + EVIL)
    token = theirs.step(None)
    assert token is not None
    with pytest.raises(BadBindings):
        ours.answer(header + stripped(token))
    matrix.fill(SASL, PEER, version, "initiator", "GS2-KRB5-PLUS, wrong channel", "refused")
