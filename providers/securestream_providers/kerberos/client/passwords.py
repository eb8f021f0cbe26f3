"""Changing and setting passwords (RFC 3244)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from securestream.errors import BadSignature, InvalidToken, LogonDenied, MalformedMessage, NotAuthorized
from securestream.provider import Effect
from securestream.redaction import Secret
from securestream_providers.kerberos.client.as_exchange import initial_ticket
from securestream_providers.kerberos.client.checks import unsealed
from securestream_providers.kerberos.client.keys import LongTermKeys
from securestream_providers.kerberos.client.settings import Session
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.krb5 import kpasswd
from securestream_providers.krb5.ap_requests import make_ap_req
from securestream_providers.krb5.kdc_error import refusal
from securestream_providers.krb5.keys import Key, random_key
from securestream_providers.krb5.kpasswd import ChangePasswdData, PasswordRequest, PasswordResult
from securestream_providers.krb5.messages import (
    PVNO,
    ApRep,
    EncApRepPart,
    EncKrbPrivPart,
    EncryptedData,
    HostAddress,
    KrbError,
    KrbPriv,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ApOptions, KeyUsage, NameType
from securestream_providers.krb5.tickets import CachedTicket

_LIFETIME: Final = timedelta(minutes=5)
_IPV4: Final = 2
_NO_ADDRESS: Final = HostAddress(_IPV4, bytes(4))
"""MIT's server insists on a sender's address, and any will do for one that does not know its own."""

_TOLD: Final = {
    PasswordResult.MALFORMED: "it takes the request for malformed",
    PasswordResult.HARD_ERROR: "it failed",
    PasswordResult.AUTH_ERROR: "it did not accept our ticket",
    PasswordResult.SOFT_ERROR: "it does not take that password",
    PasswordResult.ACCESS_DENIED: "we may not do that",
    PasswordResult.BAD_VERSION: "it does not know the request's version",
    PasswordResult.INITIAL_FLAG_NEEDED: "it wants a ticket fetched with the password just now",
}


def password_service(realm: str) -> KerberosName:
    """The principal of a realm's password service."""
    return KerberosName(realm, ("kadmin", "changepw"), NameType.SRV_INST)


def change_password(
    session: Session, client: KerberosName, keys: LongTermKeys, new_password: Secret[str]
) -> Generator[Effect[Any], Any, None]:
    """Change the client's own password; an expired one, too.

    Args:
        session: how to ask.
        client: whose.
        keys: of the old password.
        new_password: the new one.

    Raises:
        NotAuthorized: the server refuses it, and says why.
        KdcRefused: the old password is wrong, or the account may not log on.
        NoAuthority: no server answers.
    """
    brief = replace(
        session.settings, lifetime=_LIFETIME, renew_lifetime=timedelta(0), forwardable=False, proxiable=False
    )
    asking = replace(session, settings=brief)
    made = yield from initial_ticket(asking, client, keys, service=password_service(client.realm))
    session.offset = asking.offset
    yield from _request(session, made.ticket, kpasswd.CHANGE, new_password.reveal().encode())


def set_password(
    session: Session, ticket: CachedTicket, target: KerberosName | None, new_password: Secret[str]
) -> Generator[Effect[Any], Any, None]:
    """Set a password with a ticket for the password service (RFC 3244 2).

    Args:
        session: how to ask.
        ticket: for `password_service`; an administrator's, where `target` is somebody else.
        target: whose; `None` for the ticket's own client.
        new_password: the new one.

    Raises:
        NotAuthorized: the server refuses it, and says why.
        NoAuthority: no server answers.
    """
    whose = ticket.client if target is None else target  # said in any case: MIT's server (1.20) takes it for malformed
    data = ChangePasswdData(new_password.reveal().encode(), whose.principal_name, whose.realm)
    yield from _request(session, ticket, kpasswd.SET, data.encode())


def _request(session: Session, ticket: CachedTicket, version: int, data: bytes) -> Generator[Effect[Any], Any, None]:
    random, now = session.options.random, session.kdc_time()
    subkey = random_key(ticket.key.etype, random)
    sequence = session.nonce()
    ap_req = make_ap_req(ticket, now, random, subkey=subkey, sequence=sequence, options=ApOptions.MUTUAL_REQUIRED)
    part = EncKrbPrivPart(data, now.replace(microsecond=0), now.microsecond, sequence, _NO_ADDRESS).encode()
    sealed = EncryptedData(subkey.etype, None, subkey.encrypt(KeyUsage.KRB_PRIV, part, random))
    message = kpasswd.frame_request(PasswordRequest(version, ap_req, KrbPriv(PVNO, 21, sealed).encode()))
    realm = ticket.server.realm
    octets = yield from KdcRequest(
        realm, message, session.settings.config, KdcService.PASSWORD, stream=session.settings.stream
    )
    try:
        code, text = _result(session, ticket, subkey, octets, (now.replace(microsecond=0), now.microsecond))
    except MalformedMessage as problem:
        raise InvalidToken(f"the reply of the password server of {realm} is malformed: {problem}") from problem
    except BadSignature as problem:
        raise unsealed(problem, f"the reply of the password server of {realm} does not stand up") from problem
    _judge(realm, code, text)


def _judge(realm: str, code: int, text: bytes) -> None:
    if code == PasswordResult.SUCCESS:
        return
    told = kpasswd.result_text(text)
    why = _TOLD.get(PasswordResult(code), "") if code in set(PasswordResult) else f"code {code}"
    sentence = f"the password server of {realm} did not change the password: {why}"
    kind = LogonDenied if code == PasswordResult.AUTH_ERROR else NotAuthorized
    shown = "".join(character if character.isprintable() else " " for character in told)
    raise kind(f"{sentence} ({shown})" if shown else sentence)


def _result(
    session: Session, ticket: CachedTicket, subkey: Key, octets: bytes, stamp: tuple[object, int]
) -> tuple[int, bytes]:
    """The authenticated result; an unauthenticated error can only be a refusal."""
    reply = kpasswd.read_reply(octets)
    if not reply.ap_rep:
        error = KrbError.decode(reply.body)
        if error.e_data is not None and len(error.e_data) >= 2 and error.error_code == 0:
            code, text = kpasswd.read_result(error.e_data)
            return (code or PasswordResult.HARD_ERROR), text
        if error.e_data is not None and len(error.e_data) >= 2:
            code, text = kpasswd.read_result(error.e_data)
            if 0 < code <= max(PasswordResult):
                return code, text
        raise refusal(
            error, client=ticket.client, server=ticket.server, realm=ticket.server.realm, now=session.options.clock()
        )
    answer = ApRep.decode(reply.ap_rep)
    part = EncApRepPart.decode(ticket.key.decrypt(KeyUsage.AP_REP, answer.enc_part.cipher))
    if (part.ctime, part.cusec) != stamp:
        raise BadSignature("the answer is to another request")
    private = KrbPriv.decode(reply.body)
    opened = EncKrbPrivPart.decode(subkey.decrypt(KeyUsage.KRB_PRIV, private.enc_part.cipher))
    return kpasswd.read_result(opened.user_data)
