"""The acceptor's handshake (RFC 4121 4.1, RFC 4120 3.2.3, [MS-KILE] 3.4.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from datetime import timedelta
from typing import Any, Final

from securestream.credentials import Credential, CredentialCache, Keytab, find_form
from securestream.errors import HandshakeError, InvalidToken, MalformedMessage, NoCredentials, Replay, UsageError
from securestream.options import BindingPolicy, ContextFlags, Options, Role
from securestream.provider import Effect, Established, Exchange, FirstUse, Handshake
from securestream_providers.kerberos import client as kdc_client
from securestream_providers.kerberos.authenticating import Checked, check_request
from securestream_providers.kerberos.context import OLD, KerberosContext, Keys, Session
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.effects import LoadKeytab
from securestream_providers.kerberos.policy import Policy, lifetime_end
from securestream_providers.kerberos.refusing import Refuser
from securestream_providers.kerberos.user_to_user import TgtRequest, tgt_reply
from securestream_providers.krb5 import gss_token
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.keys import Key, random_key
from securestream_providers.krb5.messages import PVNO, ApRep, ApReq, EncApRepPart, EncryptedData, EncryptionKey
from securestream_providers.krb5.numbers import ErrorCode, KeyUsage
from securestream_providers.krb5.opening import decrypt_message
from securestream_providers.krb5.tickets import CachedTicket, KeytabEntry

_HALF: Final = 0x3FFFFFFF
_AP_REQ: Final = b"\x6e"
_SECOND: Final = timedelta(seconds=1)


def accept(policy: Policy, credential: Credential | None, options: Options) -> Handshake:
    """The acceptor's handshake: AP-REQ, and AP-REP where the initiator asked for mutual authentication.

    Raises:
        HandshakeError: of the kind that says why; with a KRB-ERROR for the initiator.
        MalformedMessage: a token is none.
    """
    if options.binding_policy is BindingPolicy.ALWAYS and options.channel_bindings is None:
        raise UsageError("BindingPolicy.ALWAYS needs the channel bindings of the acceptor's own channel")
    config = yield from policy.configuration()
    entries: tuple[KeytabEntry, ...] | None = None
    if find_form(credential, Keytab) is not None:  # before the first token, so that whoever begins a listener is told
        entries = policy.unchanging(credential)
        if entries is None:
            entries = yield from LoadKeytab(credential, config)
    received = yield from Exchange()
    own: CachedTicket | None = None
    token = _opened(received)
    if token is not None and token.kind == gss_token.TGT_REQ:
        TgtRequest.decode(token.body)
        obtained = yield from kdc_client.own_tgt(policy.settings(config), credential, options)
        own = obtained.ticket
        received = yield from Exchange(tgt_reply(own.ticket))
        token = _opened(received)
    message = received if token is None else _request(token)
    refuser = Refuser(options, raw=token is None)
    try:
        return (yield from _answer(policy, config, credential, entries, options, own, message, refuser))
    except HandshakeError as failure:
        if failure.token is None and not isinstance(failure, InvalidToken):
            failure.token = refuser.token(ErrorCode.GENERIC)
        raise


def _opened(received: bytes) -> gss_token.ContextToken | None:
    """What is in the frame; `None` for an AP-REQ that came without one, as in DCE style."""
    return None if received[:1] == _AP_REQ else gss_token.unframe(received)


def _request(token: gss_token.ContextToken) -> bytes:
    """The AP-REQ."""
    if token.kind != gss_token.AP_REQ or token.oid not in (
        *(gss_token.KERBEROS, gss_token.MS_KERBEROS, gss_token.USER_TO_USER),
    ):
        raise MalformedMessage("a Kerberos AP-REQ is due")
    return token.body


def _answer(
    policy: Policy,
    config: Krb5Config,
    credential: Credential | None,
    entries: tuple[KeytabEntry, ...] | None,
    options: Options,
    own: CachedTicket | None,
    message: bytes,
    refuser: Refuser,
) -> Generator[Effect[Any], Any, Established]:
    request = ApReq.decode(message)
    keys = None
    if own is None:
        if entries is None:
            entries = yield from _loaded(credential, config)
        keys = policy.keys(entries, credential)
    checked = check_request(policy, config, keys, own, request, options, refuser)
    first = yield from FirstUse(
        hashlib.sha256(b"securestream Kerberos\0" + request.authenticator.cipher).digest(),
        checked.moment + options.max_skew + _SECOND,
    )
    if not first:
        raise refuser.refused(
            ErrorCode.AP_REPEAT, Replay, "the authenticator was used before: this is a replay, or the client retries"
        )
    number = checked.number
    if ContextFlags.MUTUAL not in checked.flags:
        return _established(checked, None, number, options, None)
    number = int.from_bytes(options.random(4), "big") & _HALF
    subkey = _subkey(checked, options)
    token = _reply(checked, subkey, number, options)
    if ContextFlags.DCE_STYLE not in checked.flags:
        return _established(checked, subkey, number, options, gss_token.frame(gss_token.AP_REP, token))
    third = yield from Exchange(token)
    _check_third(checked, number, token, third)
    return _established(checked, subkey, number, options, None)


def _loaded(credential: Credential | None, config: Krb5Config) -> Generator[Effect[Any], Any, tuple[KeytabEntry, ...]]:
    """The keys of the default keytab.

    Raises:
        NoCredentials: there is none.
    """
    try:
        return (yield from LoadKeytab(credential, config))
    except NoCredentials as missing:
        if find_form(credential, CredentialCache) is None and find_form(credential, Tickets) is None:
            raise
        raise NoCredentials(
            "this server accepts with tickets, without a keytab: it is for user-to-user clients alone, and this client "
            "asked for none; ask for user-to-user, or give the server a keytab"
        ) from missing


def _subkey(checked: Checked, options: Options) -> Key:
    """The acceptor's subkey: fresh, of the type that was negotiated.

    The tokens of RC4 and DES3 know no acceptor's subkey; implementations differ in whether they heed one (MIT krb5
    does not, Heimdal and Windows do), so it is then the initiator's own, as MIT's acceptor sends it.
    """
    if checked.etype in OLD:
        return checked.subkey or checked.session_key
    return random_key(checked.etype, options.random)


def _reply(checked: Checked, subkey: Key, number: int, options: Options) -> bytes:
    key = checked.session_key
    part = EncApRepPart(
        checked.stated.replace(microsecond=0),
        checked.stated.microsecond,
        EncryptionKey(subkey.etype, subkey.contents.reveal()),
        number,
    ).encode()
    sealed = EncryptedData(key.etype, None, key.encrypt(KeyUsage.AP_REP, part, options.random))
    return ApRep(PVNO, 15, sealed).encode()


def _check_third(checked: Checked, number: int, second: bytes, token: bytes) -> None:
    """The third token of DCE style ([MS-KILE] 3.4.5.1): the initiator saw our number, so it is there now.

    The second token, which is ours, holds that number too and is sealed with the same key for the same usage: sent back
    to us it proves nothing. The time is another matter: MIT krb5 states that at which it answers.
    """
    message = ApRep.decode(token)
    if message.enc_part.cipher == ApRep.decode(second).enc_part.cipher:
        raise InvalidToken("the third token of DCE style is our own, sent back: somebody without the key reflects it")
    part = decrypt_message(EncApRepPart, checked.session_key, KeyUsage.AP_REP, message.enc_part.cipher)
    if part.seq_number != number:
        raise InvalidToken("the third token of DCE style answers another exchange: the client must connect again")


def _established(
    checked: Checked, subkey: Key | None, number: int, options: Options, token: bytes | None
) -> Established:
    session = Session(
        Role.ACCEPTOR,
        checked.flags,
        Keys(checked.session_key, checked.subkey, subkey),
        number,
        checked.number,
        lifetime_end(checked.end, options),
        checked.bound,
        checked.delegated,
        checked.authorization_data,
    )
    return Established(KerberosContext(session, options.clock, options.random), checked.principal, token)
