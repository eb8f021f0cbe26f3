"""SASL DIGEST-MD5: challenges, responses, proofs, what each end makes of them, and buffers of the layer."""

from __future__ import annotations

from securestream.credentials import Accounts
from securestream.drive import respond_blocking
from securestream.errors import BadSignature, HandshakeError, MalformedMessage, OutOfSequence
from securestream.machine import HandshakeMachine
from securestream.options import Protection, Role
from securestream.provider import TargetName
from securestream.redaction import Secret
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest.sasl_crypto import Cipher
from securestream_providers.digest.sasl_layer import DigestMd5Layer
from securestream_providers.digest.sasl_messages import SaslChallenge, SaslResponse, pack_proof, unpack_proof
from tests.fuzz.harness import Parser
from tests.providers.digest.sasl_ends import ALICE, PASSWORD, TARGET, authenticate, client, options, server

_MET = [authenticate(client(authzid="alice"), mine=options(protection, 1)) for protection in Protection]
_CHALLENGES = tuple(met.tokens[0] for met in _MET)
_RESPONSES = tuple(met.tokens[1] for met in _MET)
_PROOFS = tuple(met.tokens[2] for met in _MET)
_REFUSALS = (MalformedMessage, HandshakeError)
_KEY = Secret(bytes(16))
_STORE = MemoryAccounts(throttle=None)
_STORE.add("alice", PASSWORD)
_SERVER = server()


def _challenge(octets: bytes) -> None:
    parsed = SaslChallenge.unpack(octets)
    offers = parsed.protections and (parsed.ciphers or Protection.ENCRYPT_AND_SIGN not in parsed.protections)
    if offers and any(parsed.protections):  # without a layer no buffer is told
        made = SaslChallenge.unpack(parsed.pack())
        assert (made.realms, made.nonce, made.protections) == (parsed.realms, parsed.nonce, parsed.protections)


def _response(octets: bytes) -> None:
    parsed = SaslResponse.unpack(octets)
    again = SaslResponse.unpack(parsed.pack())
    assert (again.user, again.realm, again.authzid) == (parsed.user, parsed.realm, parsed.authzid)


def _answer(octets: bytes) -> None:
    """A client answers, or refuses by its own errors."""
    machine = HandshakeMachine(client().initiate(ALICE, TargetName(TARGET), options(Protection.NONE, 1)))
    machine.step()
    machine.step(octets)


def _serve(octets: bytes) -> None:
    """No mutation of a response makes it somebody else's."""
    machine = HandshakeMachine(_SERVER.accept(Accounts(_STORE), options(Protection.NONE, 2)))
    respond_blocking(machine)
    respond_blocking(machine, b"")
    step = respond_blocking(machine, octets)
    assert step.established is not None
    assert step.established.peer.name == "alice"


def _opened(cipher: Cipher | None) -> DigestMd5Layer:
    return DigestMd5Layer("DIGEST-MD5", Role.ACCEPTOR, _KEY, cipher, peer_buffer=65536, own_buffer=65536)


def _sealed(cipher: Cipher | None) -> bytes:
    layer = DigestMd5Layer("DIGEST-MD5", Role.INITIATOR, _KEY, cipher, peer_buffer=65536, own_buffer=65536)
    return layer.wrap(b"attack at dawn")


def _open(cipher: Cipher | None, octets: bytes) -> None:
    assert _opened(cipher).unwrap(octets).data == b"attack at dawn"


def _parser(cipher: Cipher | None) -> Parser:
    name = "auth-int" if cipher is None else cipher.token

    def parse(octets: bytes) -> None:
        _open(cipher, octets)

    return Parser(f"digest_md5.layer.{name}", parse, (_sealed(cipher),), (BadSignature, OutOfSequence))


PARSERS = [
    Parser("digest_md5.challenge", _challenge, _CHALLENGES),
    Parser("digest_md5.response", _response, _RESPONSES),
    Parser("digest_md5.proof", lambda octets: pack_proof(unpack_proof(octets)), _PROOFS),
    Parser("digest_md5.client", _answer, _CHALLENGES, _REFUSALS),
    Parser("digest_md5.server", _serve, _RESPONSES, _REFUSALS),
    *(_parser(cipher) for cipher in (None, Cipher.RC4, Cipher.TRIPLE_DES)),
]
