"""The algorithms of HTTP Digest and its arithmetic: HA1, responses, the server's proof (RFC 7616 3.4, RFC 2617 3.2).

``H`` gives lower-case hexadecimal digits. The session forms hash H(user:realm:password) as such digits, as deployed
clients and servers do (the sample code of RFC 2617 5 hashes raw octets; nobody follows it).
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum
from typing import Final, NamedTuple

from securestream.services.verifiers import DIGEST_MD5, DIGEST_SHA_256, DIGEST_SHA_512_256, DIGESTS


class Algorithm(Enum):
    """A value of ``algorithm`` (RFC 7616 3.3); members stand in the order of their strength, weakest first."""

    MD5 = ("MD5", DIGEST_MD5, False)
    MD5_SESS = ("MD5-sess", DIGEST_MD5, True)
    SHA_256 = ("SHA-256", DIGEST_SHA_256, False)
    SHA_256_SESS = ("SHA-256-sess", DIGEST_SHA_256, True)
    SHA_512_256 = ("SHA-512-256", DIGEST_SHA_512_256, False)
    SHA_512_256_SESS = ("SHA-512-256-sess", DIGEST_SHA_512_256, True)

    def __init__(self, token: str, kind: str, session: bool) -> None:
        self.token: str = token
        """As it stands in a field."""
        self.kind: str = kind
        """The kind of verifier (`securestream.services.verifiers.VerifierKey`)."""
        self.session: bool = session
        """Whether HA1 covers the first nonce and cnonce."""

    @property
    def strength(self) -> int:
        """For comparison; the session form of a hash is as strong as the other."""
        return _STRENGTH[self.kind]

    def hash(self, octets: bytes) -> bytes:
        """H(octets), hexadecimal digits in lower case."""
        return hashlib.new(DIGESTS[self.kind], octets, usedforsecurity=False).hexdigest().encode("ascii")

    def verifier(self, name: bytes, realm: bytes, password: bytes) -> bytes:
        """H(user:realm:password), raw octets (RFC 7616 3.4.2)."""
        return hashlib.new(DIGESTS[self.kind], b":".join((name, realm, password)), usedforsecurity=False).digest()

    @classmethod
    def named(cls, token: str | None) -> Algorithm | None:
        """The algorithm of a field's value; absent is MD5 (RFC 7616 3.3), unknown is `None`."""
        return cls.MD5 if token is None else _BY_TOKEN.get(token.lower())


_STRENGTH: Final = {DIGEST_MD5: 1, DIGEST_SHA_256: 2, DIGEST_SHA_512_256: 3}
_BY_TOKEN: Final = {algorithm.token.lower(): algorithm for algorithm in Algorithm}

CLIENT_ALGORITHMS: Final = (
    Algorithm.SHA_512_256,
    Algorithm.SHA_256,
    Algorithm.SHA_512_256_SESS,
    Algorithm.SHA_256_SESS,
)
"""What a client answers unless told otherwise; the strongest that is offered. MD5 is used by those who name it."""

SERVER_ALGORITHMS: Final = (Algorithm.SHA_256,)
"""What a server offers unless told otherwise: curl before 8.11 looks at the first challenge alone and cannot compute
SHA-512-256, and no browser can."""


class Qop(Enum):
    """Quality of protection (RFC 7616 3.3)."""

    AUTH = "auth"
    """The request line is proved."""
    AUTH_INT = "auth-int"
    """The request line and the content are proved."""


class Session(NamedTuple):
    """What a response covers beside the request itself."""

    algorithm: Algorithm
    nonce: str
    cnonce: str
    qop: Qop
    nc: int

    def ha1(self, verifier: bytes) -> bytes:
        """H(A1) from H(user:realm:password) in raw octets (3.4.2).

        A session form takes nonce and cnonce of the session's first request.
        """
        digits = verifier.hex().encode("ascii")
        if not self.algorithm.session:
            return digits
        return self.algorithm.hash(b":".join((digits, _octets(self.nonce), _octets(self.cnonce))))

    def response(self, ha1: bytes, method: str, uri: str, body: bytes | None) -> str:
        """The client's ``response`` (3.4.1).

        Args:
            ha1: from `ha1`.
            method: of the request; empty for the server's proof (3.5).
            uri: the ``uri`` of the response.
            body: the content, for auth-int.
        """
        a2 = _octets(f"{method}:{uri}")
        if self.qop is Qop.AUTH_INT:
            a2 += b":" + self.algorithm.hash(body or b"")
        return self._keyed(ha1, self.algorithm.hash(a2))

    def _keyed(self, ha1: bytes, ha2: bytes) -> str:
        middle = _octets(f"{self.nonce}:{self.nc:08x}:{self.cnonce}:{self.qop.value}")
        return self.algorithm.hash(b":".join((ha1, middle, ha2))).decode("ascii")


def equal(sent: str, computed: str) -> bool:
    """Whether a digest that came is the computed one, in constant time; its digits may be of either case."""
    return hmac.compare_digest(sent.lower().encode("utf-8", "replace"), computed.encode("ascii"))


def _octets(text: str) -> bytes:
    """Field values are text whose characters are octets."""
    return text.encode("latin-1", "replace")
