"""SASL DIGEST-MD5 at the server's end (RFC 2831 2.1.1, 2.1.3, 2.2.2): challenges, verifies, and proves the server."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

from securestream.credentials import Credential
from securestream.errors import BadBindings, InvalidToken, NoCredentials, TargetUnknown
from securestream.logon import LogonResult, VerifierLogon
from securestream.options import BindingPolicy, ContextFlags, Options, Protection, Role
from securestream.provider import Effect, Established, Exchange, Handshake
from securestream.redaction import Secret
from securestream.sasl.mechanism import NoLayer, SaslLayer, authorized
from securestream.services.verifiers import SASL_DIGEST_MD5
from securestream_providers.digest.algorithms import equal
from securestream_providers.digest.counts import NonceCount
from securestream_providers.digest.nonces import Judgement
from securestream_providers.digest.sasl_crypto import Covered, hash_a1
from securestream_providers.digest.sasl_layer import DigestMd5Layer
from securestream_providers.digest.sasl_messages import QOPS, SaslChallenge, SaslResponse, pack_proof

if TYPE_CHECKING:
    from securestream_providers.digest.sasl import DigestMd5

_NONCE: Final = 18
"""Octets of randomness in a nonce."""


def accept(mechanism: DigestMd5, credential: Credential | None, options: Options) -> Handshake:
    """The handshake of `DigestMd5.accept`."""
    if unusable := mechanism.usable(credential, Role.ACCEPTOR):
        raise NoCredentials(unusable.reason)
    if credential is None:
        raise NoCredentials("a DIGEST-MD5 server needs Accounts")
    if options.channel_bindings is not None and options.binding_policy is BindingPolicy.ALWAYS:
        raise BadBindings("DIGEST-MD5 proves no channel bindings: choose another mechanism, or another policy")
    server = _Server(mechanism, credential, options)
    received = yield from Exchange()
    continuing = bool(received) and mechanism.subsequent is not None
    if continuing:
        outcome = yield from server.continued(received)
        if outcome is not None:
            return outcome
    received = yield from Exchange(server.challenge(stale=continuing))
    return (yield from server.accepted(received))


class _Server:
    """One exchange.

    Args:
        mechanism: what is configured.
        credential: with what to verify.
        options: what is asked.
    """

    def __init__(self, mechanism: DigestMd5, credential: Credential, options: Options) -> None:
        self._mechanism = mechanism
        self._credential = credential
        self._options = options
        self._realms = tuple(mechanism.realms)
        self._ciphers = tuple(mechanism.ciphers)
        self._protections = tuple(one for one in Protection if one >= options.protection)
        self._nonce = ""

    def challenge(self, *, stale: bool) -> bytes:
        """The challenge (2.1.1)."""
        options, subsequent = self._options, self._mechanism.subsequent
        if subsequent is None:
            self._nonce = base64.b64encode(options.random(_NONCE)).decode("ascii")
        else:
            self._nonce = subsequent.make(self._realms, options, options.clock())
        return SaslChallenge(
            nonce=self._nonce,
            realms=self._realms,
            protections=self._protections,
            ciphers=self._ciphers,
            max_buffer=self._mechanism.max_buffer,
            stale=stale,
        ).pack()

    def accepted(self, received: bytes) -> Generator[Effect[Any], Any, Established]:
        """The outcome of the response to the challenge (2.1.3).

        Raises:
            InvalidToken: it is not the response to this challenge, or chooses what was not offered.
            LogonDenied: it does not prove the password.
        """
        response = self._checked(received)
        if not hmac.compare_digest(response.nonce.encode("latin-1"), self._nonce.encode("latin-1")):
            raise InvalidToken("the client answers another challenge: its nonce is not the one of this exchange")
        if response.count != 1:
            raise InvalidToken("the nonce count of an initial authentication is 00000001 (RFC 2831 2.1.3)")
        logon = yield from self._logon(response)
        return self._established(response, logon)

    def continued(self, received: bytes) -> Generator[Effect[Any], Any, Established | None]:
        """The outcome of a response that continues an earlier exchange (2.2.2); `None` asks for an initial one.

        Raises:
            InvalidToken: it is no response, or chooses what is not offered.
            LogonDenied: it does not prove the password.
        """
        response = self._checked(received)
        subsequent, now = self._mechanism.subsequent, self._options.clock()
        if subsequent is None or response.count < 2 or response.protection is not Protection.NONE:
            return None
        judged = subsequent.judge(response.nonce, self._realms, self._options, now)
        if judged.judgement is not Judgement.GOOD:
            return None
        logon = yield from self._logon(response)
        if not (yield from NonceCount.of(str(logon.principal), response.nonce, response.count, judged.expires)):
            return None
        return self._established(response, logon)

    def _checked(self, received: bytes) -> SaslResponse:
        """The response, as far as it can be judged without the password."""
        response = SaslResponse.unpack(received)
        if response.protection not in self._protections:
            raise InvalidToken(f"the client chose {QOPS[response.protection]}, which was not offered")
        if response.protection is Protection.ENCRYPT_AND_SIGN and response.cipher not in self._ciphers:
            raise InvalidToken("the client chose a cipher that was not offered, or named none")
        if response.realm not in self._realms if self._realms else response.realm:
            raise InvalidToken("the client logs on to a realm that was not offered")
        if not any(_serves(service, response.uri) for service in self._mechanism.services):
            raise TargetUnknown(
                "the client wants another service than this one: let it use this server's name, or add the name that "
                "it uses to `services`"
            )
        return response

    def _logon(self, response: SaslResponse) -> Generator[Effect[Any], Any, LogonResult[Secret[bytes]]]:
        covered = _covered(response)

        def prove(verifier: bytes) -> Secret[bytes] | None:
            key = hash_a1(verifier, response.nonce, response.cnonce, response.authzid)
            return key if equal(response.response, covered.response(key)) else None

        return (
            yield from VerifierLogon(
                credential=self._credential,
                user=response.user,
                kind=SASL_DIGEST_MD5,
                realm=response.realm or "",
                prove=prove,
                source=self._options.source,
                now=self._options.clock(),
                package=self._mechanism.info.name,
            )
        )

    def _established(self, response: SaslResponse, logon: LogonResult[Secret[bytes]]) -> Established:
        authorized(logon.principal, response.authzid or "", self._mechanism.authorize)
        layer = self._layer(response, logon.proof)
        return Established(layer, logon.principal, pack_proof(_covered(response).proof(logon.proof)))

    def _layer(self, response: SaslResponse, key: Secret[bytes]) -> SaslLayer:
        name, authzid = self._mechanism.info.name, response.authzid or ""
        if response.protection is Protection.NONE:
            return NoLayer(name, Role.ACCEPTOR, ContextFlags.MUTUAL, authzid=authzid)
        return DigestMd5Layer(
            name,
            Role.ACCEPTOR,
            key,
            response.cipher,
            authzid=authzid,
            peer_buffer=response.max_buffer,
            own_buffer=self._mechanism.max_buffer,
        )


def _covered(response: SaslResponse) -> Covered:
    return Covered(response.nonce, response.cnonce, response.count, QOPS[response.protection], response.uri)


def _serves(service: str, uri: str) -> bool:
    """Whether `uri` names a service of this server; of ``service/host/name`` the name may be absent (2.1.2)."""
    own, asked = service.lower().split("/"), uri.lower().split("/")
    return 1 < len(asked) <= 3 and asked[: len(own)] == own
