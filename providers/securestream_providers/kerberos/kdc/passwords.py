"""The password service: a user's own password, or another's by policy (RFC 3244 and its predecessor, version 1)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from securestream.errors import BadSignature, ContextError, HandshakeError, MalformedMessage, ServiceFailed
from securestream.options import Random
from securestream.redaction import Redacted, Secret
from securestream_providers.kerberos.kdc.armor import open_authenticator, subkey_of
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.kerberos.kdc.principals import (
    KdcPrincipal,
    PrincipalDatabase,
    changepw_name,
    password_keys,
)
from securestream_providers.kerberos.kdc.realm import OpenTicket, Realm, check_source
from securestream_providers.kerberos.kdc.refusals import Refused, krb_error
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.kpasswd import (
    CHANGE,
    SET,
    ChangePasswdData,
    PasswordReply,
    PasswordRequest,
    PasswordResult,
    frame_reply,
    frame_result,
    read_request,
)
from securestream_providers.krb5.messages import (
    PVNO,
    ApRep,
    ApReq,
    Authenticator,
    EncApRepPart,
    EncKrbPrivPart,
    EncryptedData,
    HostAddress,
    KrbPriv,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, KeyUsage, TicketFlags

LARGEST_REQUEST: Final = 1 << 16
_LONGEST_PASSWORD: Final = 1024


class _Denied(Refused):
    """A refusal that is told inside the encrypted reply."""

    def __init__(self, result: PasswordResult, text: str) -> None:
        super().__init__(ErrorCode.GENERIC, text)
        self.result = result


@dataclass(frozen=True, repr=False)
class _Session(Redacted):
    """Who asks, after the AP-REQ was checked."""

    ticket: OpenTicket
    authenticator: Authenticator
    subkey: Key
    sequence: int


class PasswordService:
    """Changes passwords in a realm's database.

    Args:
        database: the principals.
        realm: the realm's name.
        random: for confounders.
        policy: what is allowed.
    """

    def __init__(
        self, database: PrincipalDatabase, realm: str, random: Random, policy: KdcPolicy | None = None
    ) -> None:
        self.realm = Realm(realm, database, random, KdcPolicy() if policy is None else policy)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.realm.name}>"

    def handle(self, request: bytes, *, now: datetime, source: str = "", local: str = "") -> bytes | None:
        """The reply to a request, or `None` to say nothing to what is none (a reply among it, CVE-2002-2443).

        Args:
            request: as received, without the length that TCP puts in front.
            now: the time, aware UTC.
            source: the client's address as text.
            local: the address at which it reached us; MIT's clients compare it.
        """
        if len(request) > LARGEST_REQUEST:
            return None
        try:
            framed = read_request(request)
            if not framed.ap_req or framed.ap_req[0] != 0x6E:
                return None
            ap_req = ApReq.decode(framed.ap_req)
        except MalformedMessage:
            return None
        try:
            session = self._open(ap_req, now, source)
        except Refused as refused:
            return self._refusal(refused, now)
        except ServiceFailed:
            return self._refusal(Refused(ErrorCode.SVC_UNAVAILABLE), now)
        except (MalformedMessage, ContextError, HandshakeError):
            return self._refusal(Refused(ErrorCode.GENERIC, "the request is malformed"), now)
        try:
            text = self._change(framed, session, now)
            result = PasswordResult.SUCCESS
        except _Denied as denied:
            result, text = denied.result, denied.text
        except ServiceFailed:
            result, text = PasswordResult.HARD_ERROR, "the database cannot be written now"
        except (MalformedMessage, ContextError):
            result, text = PasswordResult.MALFORMED, "the request is malformed"
        return self._reply(session, frame_result(result, text.encode()), now, local)

    def _open(self, request: ApReq, now: datetime, source: str) -> _Session:
        """Check the AP-REQ: a ticket for this service and no other, in its time, with a subkey."""
        name = changepw_name(self.realm.name)
        ticket = request.ticket
        service = self.realm.database.find(name)
        if service is None or KerberosName.of(ticket.sname, ticket.realm) != name:
            raise Refused(ErrorCode.AP_NOT_US, "tickets for kadmin/changepw are taken here")
        opened = self.realm.open_ticket(ticket, service)
        self.realm.check_times(opened.part, now)
        check_source(opened.part.caddr, source)
        authenticator = open_authenticator(self.realm, opened, request, KeyUsage.AP_REQ_AUTHENTICATOR, now)
        subkey = subkey_of(self.realm, authenticator)
        if subkey is None:
            raise Refused(ErrorCode.AP_NOKEY, "the authenticator has no subkey")
        return _Session(opened, authenticator, subkey, authenticator.seq_number or 0)

    def _change(self, framed: PasswordRequest, session: _Session, now: datetime) -> str:
        """Judge the request and set the password; a text for the user."""
        if framed.version not in (CHANGE, SET):
            raise _Denied(PasswordResult.BAD_VERSION, "versions 1 and 0xff80 are known")
        private = self._private(framed.krb_priv, session, now)
        if not session.ticket.part.flags & TicketFlags.INITIAL:
            raise _Denied(PasswordResult.INITIAL_FLAG_NEEDED, "a ticket made with the password itself is needed")
        client = session.ticket.client
        target, octets = client, private.user_data
        if framed.version == SET:
            data = ChangePasswdData.decode(private.user_data)
            octets = data.new_password
            if data.target_name is not None:
                target = KerberosName.of(data.target_name, data.target_realm or self.realm.name)
        if target != client and str(client) not in self.realm.policy.password_admins:
            raise _Denied(PasswordResult.ACCESS_DENIED, "only your own password is yours to change")
        account = self.realm.database.find(target) if target.realm == self.realm.name else None
        if account is None or account.as_only or account.name.is_tgs:
            raise _Denied(PasswordResult.HARD_ERROR, "there is no such principal")
        self._set(account, Secret(octets))
        return "the password was changed"

    def _private(self, octets: bytes, session: _Session, now: datetime) -> EncKrbPrivPart:
        sealed = KrbPriv.decode(octets).enc_part
        if sealed.etype != session.subkey.etype:
            raise BadSignature("the new password is encrypted with another key than the subkey")
        part = EncKrbPrivPart.decode(session.subkey.decrypt(KeyUsage.KRB_PRIV, sealed.cipher))
        if part.timestamp is not None:
            moment = part.timestamp + timedelta(microseconds=part.usec or 0)
            if abs(moment - now) > self.realm.policy.clock_skew:
                raise _Denied(PasswordResult.AUTH_ERROR, "the clocks are too far apart")
        if (part.seq_number or 0) != session.sequence:  # MIT's kpasswd leaves out a zero, and the time
            raise _Denied(PasswordResult.AUTH_ERROR, "the sequence number is another than the authenticator's")
        return part

    def _set(self, account: KdcPrincipal, password: Secret[bytes]) -> None:
        policy = self.realm.policy
        try:
            text = password.reveal().decode("utf-8")
        except UnicodeDecodeError:
            raise _Denied(PasswordResult.SOFT_ERROR, "the password must be UTF-8 text") from None
        if not policy.least_password <= len(text) <= _LONGEST_PASSWORD:
            del text
            raise _Denied(PasswordResult.SOFT_ERROR, f"the password needs at least {policy.least_password} characters")
        kvno = account.kvno + 1
        etypes = tuple(stored.key.etype for stored in account.current(policy.etypes)) or policy.etypes[:4]
        keys = password_keys(account.name, text, kvno, etypes)
        del text
        self.realm.database.put(replace(account, keys=keys, password_expires=None))

    def _reply(self, session: _Session, result: bytes, now: datetime, local: str) -> bytes:
        realm, authenticator = self.realm, session.authenticator
        session_key, subkey = session.ticket.session, session.subkey
        part = EncApRepPart(authenticator.ctime, authenticator.cusec, None, session.sequence).encode()
        sealed = EncryptedData(session_key.etype, None, session_key.encrypt(KeyUsage.AP_REP, part, realm.random))
        private = EncKrbPrivPart(
            result, now.replace(microsecond=0), now.microsecond, session.sequence, _host_address(local)
        ).encode()
        body = EncryptedData(subkey.etype, None, subkey.encrypt(KeyUsage.KRB_PRIV, private, realm.random))
        return frame_reply(PasswordReply(ApRep(PVNO, 15, sealed).encode(), KrbPriv(PVNO, 21, body).encode()))

    def _refusal(self, refused: Refused, now: datetime) -> bytes:
        """A KRB-ERROR, with the result of RFC 3244 in its e-data."""
        e_data = frame_result(PasswordResult.AUTH_ERROR, refused.text.encode())
        server = changepw_name(self.realm.name)
        error = krb_error(self.realm.name, now, refused.code, refused.text, server=server, e_data=e_data)
        return frame_reply(PasswordReply(b"", error))


def _host_address(address: str) -> HostAddress:
    """An address as messages hold it; where it is not known, the one that stands for none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return HostAddress(2, bytes(4))
    return HostAddress(2 if parsed.version == 4 else 24, parsed.packed)
