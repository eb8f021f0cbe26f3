"""The KDC, from octets to octets: no sockets, no clock (RFC 4120 3.1, 3.3, 7.2)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from securestream.errors import ContextError, HandshakeError, MalformedMessage, ServiceFailed
from securestream.options import Random
from securestream_providers.kerberos.kdc.armor import ArmoredRefusal, open_request, refusal
from securestream_providers.kerberos.kdc.authentication import authenticate
from securestream_providers.kerberos.kdc.granting import grant
from securestream_providers.kerberos.kdc.header import open_header
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.kerberos.kdc.principals import PrincipalDatabase
from securestream_providers.kerberos.kdc.realm import Asked, Realm
from securestream_providers.kerberos.kdc.refusals import Refused, krb_error
from securestream_providers.krb5.messages import AsReq, TgsReq
from securestream_providers.krb5.numbers import ErrorCode

LARGEST_REQUEST: Final = 1 << 17
"""Octets of a request; larger ones are not looked at."""

_AS_REQ, _TGS_REQ = 0x6A, 0x6C


class Kdc:
    """A key distribution centre for one realm.

    Nothing but replies leaves `handle`: what a client gets wrong is a KRB-ERROR, or silence. A bug is raised as the
    bug it is.

    Args:
        database: the principals, with krbtgt/REALM among them (`own_principals`).
        realm: the realm's name.
        random: for keys and confounders.
        policy: what is allowed.
    """

    def __init__(
        self, database: PrincipalDatabase, realm: str, random: Random, policy: KdcPolicy | None = None
    ) -> None:
        self.realm = Realm(realm, database, random, KdcPolicy() if policy is None else policy)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.realm.name}>"

    def handle(self, request: bytes, *, now: datetime, source: str = "", stream: bool = False) -> bytes | None:
        """The reply to a request, without a length in front, or `None` to say nothing.

        What is no request is dropped by UDP, above all replies and errors (CVE-2002-2443), and a reply that is large,
        or much larger than the request, is an error 52 there: no use to whoever forges addresses.

        Args:
            request: as received, without a length in front.
            now: the time, aware UTC.
            source: the client's address as text, without port; empty where it is not known.
            stream: whether it came over TCP or HTTPS.
        """
        reply = self._reply(request, now, source, stream=stream)
        if stream or reply is None:
            return reply
        policy = self.realm.policy
        if len(reply) > min(policy.largest_datagram, policy.amplification * len(request)):
            reply = krb_error(self.realm.name, now, ErrorCode.RESPONSE_TOO_BIG)
        return reply if len(reply) <= policy.amplification * len(request) else None

    def _reply(self, request: bytes, now: datetime, source: str, *, stream: bool) -> bytes | None:
        kind = request[:1]
        if kind not in (b"\x6a", b"\x6c") or len(request) > LARGEST_REQUEST:
            return self._malformed(now) if stream and kind not in _REPLIES else None
        try:
            parsed = (AsReq if kind[0] == _AS_REQ else TgsReq).decode(request)
        except MalformedMessage:
            return self._malformed(now) if stream else None
        asked = Asked(parsed.req_body, parsed.padata or (), request, now, source)
        try:
            if isinstance(parsed, AsReq):
                asked = open_request(self.realm, parsed, request, now, source)
                return authenticate(self.realm, asked)
            header, asked = open_header(self.realm, parsed, request, now, source)
            return grant(self.realm, header, asked)
        except ArmoredRefusal as refused:
            return refusal(self.realm, refused.asked, refused)
        except Refused as refused:
            return refusal(self.realm, asked, refused)
        except ServiceFailed:
            return refusal(self.realm, asked, Refused(ErrorCode.SVC_UNAVAILABLE, "the database cannot be read now"))
        except (MalformedMessage, ContextError, HandshakeError):
            return refusal(self.realm, asked, Refused(ErrorCode.GENERIC, "the request is malformed"))

    def _malformed(self, now: datetime) -> bytes:
        return krb_error(self.realm.name, now, ErrorCode.GENERIC, "this is no request to a KDC")


_REPLIES: Final = (b"\x6b", b"\x6d", b"\x6f", b"\x7e")
