"""SASL DIGEST-MD5 at the client's end (RFC 2831 2.1.2, 2.2.1): answers the challenge, verifies the server's proof."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from securestream.credentials import Credential, Password, find_form, join_name
from securestream.errors import (
    InvalidToken,
    LogonDenied,
    MalformedMessage,
    NoCredentials,
    QualityNotMet,
    TargetUnknown,
    UsageError,
)
from securestream.options import ContextFlags, Options, Protection, Role
from securestream.principal import unauthenticated
from securestream.provider import Established, Exchange, Handshake, TargetName
from securestream.redaction import Secret
from securestream.sasl.mechanism import NoLayer, SaslLayer
from securestream.services.verifiers import SASL_DIGEST_MD5, digest_verifier
from securestream_providers.digest.algorithms import equal
from securestream_providers.digest.counts import LARGEST
from securestream_providers.digest.sasl_crypto import Cipher, Covered, hash_a1
from securestream_providers.digest.sasl_layer import DigestMd5Layer
from securestream_providers.digest.sasl_messages import (
    LONGEST_RESPONSE,
    QOPS,
    SaslChallenge,
    SaslResponse,
    is_challenge,
    unpack_proof,
)
from securestream_providers.digest.sasl_sessions import Remembered, SessionKey

if TYPE_CHECKING:
    from securestream_providers.digest.sasl import DigestMd5

_NONCE: Final = 18
"""Octets of randomness in a cnonce."""


def initiate(
    mechanism: DigestMd5, credential: Credential | None, target: TargetName | None, options: Options
) -> Handshake:
    """The handshake of `DigestMd5.initiate`."""
    password = find_form(credential, Password)
    if password is None:
        raise NoCredentials("a DIGEST-MD5 client needs a Password")
    client = _Client(mechanism, password, target, options)
    reply = yield from Exchange(client.continued())
    if client.response is not None and not is_challenge(reply):
        return client.proved(reply)
    challenge = SaslChallenge.unpack(reply)
    reply = yield from Exchange(client.answer(challenge))
    return client.proved(reply)


class _Client:
    """One exchange.

    Args:
        mechanism: what is configured.
        password: as whom.
        target: the service.
        options: what is asked.
    """

    def __init__(self, mechanism: DigestMd5, password: Password, target: TargetName | None, options: Options) -> None:
        if not target:
            raise TargetUnknown("a DIGEST-MD5 client needs the name of the service, such as ldap/dc1.example.com")
        self._mechanism = mechanism
        self._password = password
        self._target = target
        self._options = options
        self._uri = _uri(target)
        self._key: Secret[bytes] = Secret(b"")
        self._challenge: SaslChallenge | None = None
        self.response: SaslResponse | None = None
        """What was sent last."""

    # --- messages

    def continued(self) -> bytes:
        """The response that continues an earlier exchange (2.2.1); empty for none, and the server begins."""
        subsequent = self._mechanism.subsequent
        if subsequent is None or self._options.protection is not Protection.NONE:
            return b""
        earlier = subsequent.take(self._session)
        if earlier is None or earlier.count >= LARGEST:
            return b""
        return self._sealed(
            SaslResponse(
                user=earlier.user,
                realm=earlier.realm,
                nonce=earlier.nonce,
                cnonce=earlier.cnonce,
                count=earlier.count + 1,
                uri=self._uri,
                utf_8=earlier.utf_8,
                authzid=self._mechanism.authzid or None,
            )
        )

    def answer(self, challenge: SaslChallenge) -> bytes:
        """The response to a challenge (2.1.2).

        Raises:
            QualityNotMet: it offers nothing that is good enough.
            NoCredentials: it offers no realm that the password is for.
        """
        self._challenge = challenge
        protection = self._protection(challenge)
        realm = self._realm(challenge)
        return self._sealed(
            SaslResponse(
                # what HTTP Digest sends, and stores have verifiers of
                user=join_name(self._password.user, self._password.domain),
                realm=realm,
                nonce=challenge.nonce,
                cnonce=base64.b64encode(self._options.random(_NONCE)).decode("ascii"),
                count=1,
                uri=self._uri,
                protection=protection,
                cipher=self._cipher(challenge) if protection is Protection.ENCRYPT_AND_SIGN else None,
                max_buffer=self._mechanism.max_buffer,
                utf_8=challenge.utf_8,
                authzid=self._mechanism.authzid or None,
            )
        )

    def proved(self, reply: bytes) -> Established:
        """The outcome, once the server's proof is verified (2.1.3).

        Raises:
            LogonDenied: it proves nothing.
            InvalidToken: it is none.
        """
        response = self.response
        if response is None or is_challenge(reply):
            raise InvalidToken("the server sent another challenge where its proof is due")
        if not equal(unpack_proof(reply), _covered(response).proof(self._key)):
            raise LogonDenied(
                "the server does not prove that it knows this password: it is not the server it should be"
            )
        subsequent = self._mechanism.subsequent
        if subsequent is not None and response.protection is Protection.NONE:
            subsequent.remember(
                self._session,
                Remembered(
                    response.nonce, response.cnonce, response.count, response.user, response.realm, response.utf_8
                ),
            )
        return Established(self._layer(response), unauthenticated(self._mechanism.info.name))

    # --- choices

    def _protection(self, challenge: SaslChallenge) -> Protection:
        """The least quality that is offered and enough."""
        enough = [one for one in challenge.protections if one >= self._options.protection]
        if not enough:
            offered = ", ".join(QOPS[one] for one in challenge.protections) or "nothing that is known"
            raise QualityNotMet(
                f"the server offers {offered} and {self._options.protection.name} is asked for: let the server offer "
                "more, or ask for another protection"
            )
        return min(enough)

    def _cipher(self, challenge: SaslChallenge) -> Cipher:
        for cipher in self._mechanism.ciphers:
            if cipher in challenge.ciphers:
                return cipher
        offered = ", ".join(one.token for one in challenge.ciphers) or "none that is known"
        raise QualityNotMet(
            f"of the ciphers of this client the server offers none, but {offered}: name one of these in `ciphers`, if "
            "it is good enough"
        )

    def _realm(self, challenge: SaslChallenge) -> str | None:
        """The realm to log on to (2.1.1, realm); `None` where the server offers none."""
        offered, named = challenge.realms, self._mechanism.realms
        if not offered:
            return named[0] if named else None
        for wanted in (*named, *(() if named else (self._password.domain,))):
            for realm in offered:
                if _same(wanted, realm):
                    return realm
        if named:
            raise NoCredentials(f"the server offers other realms than {', '.join(named)}: name one of its own")
        if len(offered) == 1:
            return offered[0]
        for realm in offered:
            if _same(self._target.host, realm):
                return realm
        raise NoCredentials(f"the server offers {len(offered)} realms: name one in the mechanism's `realms`")

    # --- the digest

    def _sealed(self, response: SaslResponse) -> bytes:
        """The message with its digest."""
        if not response.utf_8 and not _is_latin(self._password.password):
            raise UsageError(
                "the server offers no UTF-8, and this password is not of ISO 8859-1: DIGEST-MD5 cannot use it"
            )
        verifier = digest_verifier(
            SASL_DIGEST_MD5, response.user, response.realm or "", self._password.password.reveal()
        )
        self._key = hash_a1(verifier, response.nonce, response.cnonce, response.authzid)
        del verifier
        self.response = replace(response, response=_covered(response).response(self._key))
        try:
            octets = self.response.pack()
        except MalformedMessage as error:
            raise UsageError(str(error)) from None
        if len(octets) > LONGEST_RESPONSE:
            raise UsageError("the names are too long for a DIGEST-MD5 response: shorten user, realm or authzid")
        return octets

    def _layer(self, response: SaslResponse) -> SaslLayer:
        name, authzid = self._mechanism.info.name, self._mechanism.authzid
        if response.protection is Protection.NONE or self._challenge is None:
            return NoLayer(name, Role.INITIATOR, ContextFlags.MUTUAL, authzid=authzid)
        return DigestMd5Layer(
            name,
            Role.INITIATOR,
            self._key,
            response.cipher,
            authzid=authzid,
            peer_buffer=self._challenge.max_buffer,
            own_buffer=self._mechanism.max_buffer,
        )

    @property
    def _session(self) -> SessionKey:
        realms = self._mechanism.realms
        return SessionKey(
            self._password.user,
            self._password.domain,
            self._target,
            realms[0] if realms else None,
            self._mechanism.authzid or None,
        )


def _covered(response: SaslResponse) -> Covered:
    return Covered(response.nonce, response.cnonce, response.count, QOPS[response.protection], response.uri)


def _uri(target: TargetName) -> str:
    """``digest-uri-value`` (2.1.2).

    Raises:
        TargetUnknown: the name cannot be one.
    """
    uri = target if "/" in target else f"{target.service_class}/{target}"
    if not uri.isascii() or not uri.isprintable():
        raise TargetUnknown("the name of the service has characters that DIGEST-MD5 cannot send: use its DNS name")
    return str(uri)


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _is_latin(password: Secret[str]) -> bool:
    return all(ord(letter) < 0x100 for letter in password.reveal())
