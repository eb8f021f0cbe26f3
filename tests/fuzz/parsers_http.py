"""Fields of HTTP authentication, as any peer may send them."""

from __future__ import annotations

from securestream.http.fields import parse_authorization, parse_challenges, parse_information
from tests.fuzz.harness import Parser

_CHALLENGES = (
    b"Negotiate, NTLM",
    b"Negotiate YIIEhgYGKwYBBQUCoIIEejCCBHagDTALBgkqhkiG9xIBAgKiggRjBIIEX2CCBFs=",
    b'Digest realm="example", qop="auth,auth-int", algorithm=SHA-256, nonce="AAABoh", opaque="x\\"y", Basic a = b',
    b'Basic realm="simple" , , Newauth realm="apps", type=1, title="Login to \\"apps\\""',
)
_INFORMATION = (b'rspauth="0123456789abcdef", cnonce="x y", nc=00000001, qop=auth', b"a=b,,c = d")


def _challenges(octets: bytes) -> None:
    for challenge in parse_challenges(octets.split(b"\n")):
        repr(challenge)
        if challenge.token68 is not None:
            assert challenge.token is None or len(challenge.token) <= len(octets)


PARSERS = [
    Parser("http.challenges", _challenges, _CHALLENGES),
    Parser("http.authorization", parse_authorization, (_CHALLENGES[1], _CHALLENGES[2].partition(b", Basic")[0])),
    Parser("http.information", parse_information, _INFORMATION),
]
