"""A Kerberos token in one readable line: its kind, names, types and times; never what opens or proves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from securestream.errors import MalformedMessage
from securestream.readable import printable
from securestream_providers.kerberos.user_to_user import TgtReply, TgtRequest
from securestream_providers.krb5 import cfx, gss_token, old_tokens
from securestream_providers.krb5.kdc_error import code_name, server_time
from securestream_providers.krb5.messages import ApRep, ApReq, EncryptedData, KrbError, PrincipalName, Ticket
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ApOptions, EncryptionType


def describe(token: bytes) -> str:
    """One line on a token; octets that are none are said to be so."""
    try:
        return printable(_describe(token))
    except MalformedMessage:
        return f"no Kerberos token, or a malformed one ({len(token)} octets)"


def _describe(token: bytes) -> str:
    if token[:1] in _RAW:
        kind, facts = _RAW[token[:1]]
        return _line(kind, token, facts(token))
    if not gss_token.is_framed(token):
        return cfx.read_header(token)
    opened = _framed(token)
    if opened is None:
        return old_tokens.read_header(token)
    kind, facts = _FRAMED[opened.kind]
    found = facts(opened.body)
    if opened.oid == gss_token.USER_TO_USER:
        found.append("user-to-user")
    return _line(kind, token, found)


def _framed(token: bytes) -> gss_token.ContextToken | None:
    """A context token; `None` for other framed ones."""
    try:
        opened = gss_token.unframe(token)
    except MalformedMessage:
        return None  # in DCE style the length counts less than there is
    return opened if opened.kind in _FRAMED else None


def _line(kind: str, token: bytes, facts: list[str]) -> str:
    return f"Kerberos {kind} ({len(token)} octets): {', '.join(facts)}"


def _name(name: PrincipalName | None, realm: str | None) -> str:
    return "nobody" if name is None else str(KerberosName.of(name, realm or ""))


def _etype(data: EncryptedData) -> str:
    try:
        name = EncryptionType(data.etype).name.lower().replace("_", "-")
    except ValueError:
        name = f"type {data.etype}"
    return name if data.kvno is None else f"{name}, key version {data.kvno}"


def _ticket(ticket: Ticket) -> str:
    return f"ticket for {_name(ticket.sname, ticket.realm)} ({_etype(ticket.enc_part)})"


def _ap_req(body: bytes) -> list[str]:
    message = ApReq.decode(body)
    facts = [_ticket(message.ticket), f"authenticator {_etype(message.authenticator)}"]
    if message.ap_options & ApOptions.MUTUAL_REQUIRED:
        facts.append("mutual")
    if message.ap_options & ApOptions.USE_SESSION_KEY:
        facts.append("in a session key")
    return facts


def _ap_rep(body: bytes) -> list[str]:
    return [_etype(ApRep.decode(body).enc_part)]


def _error(body: bytes) -> list[str]:
    error = KrbError.decode(body)
    facts = [code_name(error.error_code), f"for {_name(error.sname, error.realm)}"]
    facts.append(f"its clock {server_time(error):%Y-%m-%d %H:%M:%S}")
    return [*facts, f"text {error.e_text!r}"] if error.e_text else facts


def _tgt_req(body: bytes) -> list[str]:
    request = TgtRequest.decode(body)
    return [f"asks for the ticket-granting ticket of {_name(request.server_name, request.realm)}"]


def _tgt_rep(body: bytes) -> list[str]:
    return [_ticket(Ticket.decode(TgtReply.decode(body).ticket))]


_Facts = tuple[str, Callable[[bytes], list[str]]]
_FRAMED: Final[dict[bytes, _Facts]] = {
    gss_token.AP_REQ: ("AP-REQ", _ap_req),
    gss_token.AP_REP: ("AP-REP", _ap_rep),
    gss_token.ERROR: ("KRB-ERROR", _error),
    gss_token.TGT_REQ: ("TGT-REQ", _tgt_req),
    gss_token.TGT_REP: ("TGT-REP", _tgt_rep),
}
_RAW: Final[dict[bytes, _Facts]] = {
    b"\x6e": ("AP-REQ", _ap_req),
    b"\x6f": ("AP-REP", _ap_rep),
    b"\x7e": ("KRB-ERROR", _error),
}
