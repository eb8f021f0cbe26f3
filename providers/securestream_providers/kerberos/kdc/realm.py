"""A realm: its database and policy, and how names and tickets are found in them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from securestream.errors import BadSignature, MalformedMessage
from securestream.options import Random
from securestream.redaction import Redacted
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.kerberos.kdc.principals import KdcPrincipal, PrincipalDatabase
from securestream_providers.kerberos.kdc.refusals import Refused
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.messages import (
    EncTicketPart,
    HostAddress,
    KdcReqBody,
    PaData,
    PrincipalName,
    Ticket,
)
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, KeyUsage, NameType, TicketFlags

_ADDRESS_TYPES: Final = {2: 4, 24: 16}


@dataclass(frozen=True, repr=False)
class Realm(Redacted):
    """What every handler of requests needs.

    Args:
        name: of the realm.
        database: its principals.
        random: for keys and confounders.
        policy: what is allowed.
    """

    name: str
    database: PrincipalDatabase
    random: Random
    policy: KdcPolicy

    def tgs(self) -> KdcPrincipal:
        """The ticket-granting service of the realm.

        Raises:
            Refused: the database has none.
        """
        found = self.database.find(tgs_name(self.name))
        if found is None or not found.current(self.policy.etypes):
            raise Refused(ErrorCode.NULL_KEY, f"krbtgt/{self.name} has no key")
        return found

    def tgs_key(self) -> Key:
        """The newest key of the ticket-granting service, which signs PACs."""
        return self.tgs().current(self.policy.etypes)[0].key

    def find_client(self, name: PrincipalName, *, canonicalize: bool) -> KdcPrincipal | None:
        """The client that an AS-REQ or PA-FOR-USER names, or `None`."""
        if name.name_type == NameType.ENTERPRISE and len(name.name_string) == 1:
            text = name.name_string[0]
            local, _, domain = text.rpartition("@")
            found = self.database.find_alias(text)
            if "@" not in text:
                local, domain = text, self.name
            if found is None and local and domain.casefold() == self.name.casefold():
                found = self.database.find(KerberosName(self.name, (local,)))
            return found
        return self._find(name, canonicalize=canonicalize)

    def find_server(self, name: PrincipalName, *, canonicalize: bool) -> KdcPrincipal | None:
        """The service that a request names, or `None`."""
        return self._find(name, canonicalize=canonicalize)

    def _find(self, name: PrincipalName, *, canonicalize: bool) -> KdcPrincipal | None:
        found = self.database.find(KerberosName(self.name, name.name_string))
        if found is None and canonicalize:
            found = self.database.find_alias("/".join(name.name_string))
        return found

    def open_ticket(self, ticket: Ticket, principal: KdcPrincipal) -> OpenTicket:
        """Decrypt a ticket with the keys of the principal it is for, older ones included.

        Raises:
            Refused: there is no such key, or it is not that ticket's.
        """
        sealed = ticket.enc_part
        keys = principal.of_version(sealed.kvno, sealed.etype) if sealed.etype in self.policy.etypes else ()
        if not keys:
            raise Refused(ErrorCode.AP_BADKEYVER, "the ticket is of a key that is not there any more")
        for key in keys:
            try:
                octets = key.decrypt(KeyUsage.TICKET, sealed.cipher)
                part = EncTicketPart.decode(octets)
                session = make_key(part.key.keytype, part.key.keyvalue)
            except (BadSignature, MalformedMessage):
                continue
            return OpenTicket(part, octets, key, session, principal)
        raise Refused(ErrorCode.AP_BAD_INTEGRITY)

    def check_times(self, part: EncTicketPart, now: datetime, *, validating: bool = False) -> None:
        """Refuse a ticket that is not valid at `now`; one with the INVALID flag only serves to be validated."""
        skew = self.policy.clock_skew
        start = part.authtime if part.starttime is None else part.starttime
        if part.flags & TicketFlags.INVALID and not validating:
            raise Refused(ErrorCode.AP_TKT_NYV, "the ticket must be validated first")
        if start > now + (timedelta() if validating else skew):
            raise Refused(ErrorCode.AP_TKT_NYV)
        if part.endtime <= now - skew:
            raise Refused(ErrorCode.AP_TKT_EXPIRED)

    def check_skew(self, moment: datetime, now: datetime) -> None:
        """Refuse a client whose clock is too far away.

        Raises:
            Refused: AP_SKEW.
        """
        if abs(moment - now) > self.policy.clock_skew:
            raise Refused(ErrorCode.AP_SKEW)

    def session_etype(self, asked: tuple[int, ...], server: KdcPrincipal) -> int:
        """The type of the session key: the client's first that we allow and the service has a key of.

        Raises:
            Refused: ETYPE_NOSUPP.
        """
        known = {stored.key.etype for stored in server.current(self.policy.etypes)}
        if server.name.components == ("krbtgt", self.name) or server.as_only:
            known = set(self.policy.etypes)  # these services are ourselves
        for etype in asked:
            if etype in known:
                return etype
        raise Refused(ErrorCode.ETYPE_NOSUPP, "the service has no key of a type that the client asks for")


@dataclass(frozen=True, repr=False)
class OpenTicket(Redacted):
    """A ticket that a key of ours opened.

    Args:
        part: its content.
        octets: the content as it was encrypted, over which the PAC's ticket signature goes.
        key: the service's key.
        session: the session key.
        principal: the service.
    """

    part: EncTicketPart
    octets: bytes
    key: Key
    session: Key
    principal: KdcPrincipal

    @property
    def client(self) -> KerberosName:
        """Whose ticket it is."""
        return KerberosName.of(self.part.cname, self.part.crealm)


@dataclass(frozen=True, repr=False)
class Asked(Redacted):
    """A request as it counts: what FAST protected, where there is FAST.

    Args:
        body: the body.
        padata: the pre-authentication data.
        octets: the whole request as received.
        now: the time.
        source: the client's address as text, or empty.
        armor: the FAST armor key, or `None`.
    """

    body: KdcReqBody
    padata: tuple[PaData, ...]
    octets: bytes
    now: datetime
    source: str = ""
    armor: Key | None = None

    @property
    def options(self) -> KdcOptions:
        """The KDC options."""
        return KdcOptions(self.body.kdc_options)

    @property
    def canonicalize(self) -> bool:
        """Whether other names than asked for may be answered."""
        return bool(self.body.kdc_options & KdcOptions.CANONICALIZE)

    def find(self, kind: int) -> bytes | None:
        """The value of the first padata of a type."""
        return next((one.padata_value for one in self.padata if one.padata_type == kind), None)


def check_source(addresses: tuple[HostAddress, ...] | None, source: str) -> None:
    """Refuse a ticket that is bound to other addresses than the client's (RFC 4120 3.3.3, where it is known).

    Raises:
        Refused: AP_BADADDR.
    """
    if not addresses or not source:
        return
    try:
        octets = ipaddress.ip_address(source.partition("%")[0]).packed
    except ValueError:
        return
    usable = [one.address for one in addresses if _ADDRESS_TYPES.get(one.addr_type) == len(one.address)]
    if octets not in usable:
        raise Refused(ErrorCode.AP_BADADDR)


def end_of(till: datetime, start: datetime, *limits: timedelta | None) -> datetime:
    """When a ticket ends: what is asked for (1970: as late as may be), within limits from `start`.

    Raises:
        Refused: NEVER_VALID.
    """
    ends = [start + limit for limit in limits if limit is not None]
    if till.year > 1970:
        ends.append(till)
    end = min(ends)
    if end <= start:
        raise Refused(ErrorCode.NEVER_VALID)
    return end.replace(microsecond=0)
