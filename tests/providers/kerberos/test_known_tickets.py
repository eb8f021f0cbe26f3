"""An acceptor opens a ticket once, and judges all else each time."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Keytab
from securestream.errors import BadBindings, HandshakeError, InvalidToken, LogonDenied, Replay, TargetUnknown, TimeSkew
from securestream.options import Options, Role
from securestream_providers.kerberos import Kerberos, Tickets, authenticating
from securestream_providers.kerberos.known_tickets import (
    LARGEST_KEPT,
    LONGEST_KEPT,
    MOST_KEPT,
    KnownTickets,
    OpenedTicket,
    Place,
    place_of,
)
from securestream_providers.krb5.messages import EncTicketPart, Ticket
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.pac import PacRefused
from tests.providers.kerberos.ends import (
    BINDINGS,
    NOW,
    OTHER_BINDINGS,
    REALM,
    Meeting,
    Realm,
    key_of,
    meet,
    new_services,
    options,
    package,
)
from tests.providers.krb5.pacs import BUFFERS


class Acceptor:
    """One acceptor and its keytab, to which clients come."""

    def __init__(self, realm: Realm | None = None, **more: Any) -> None:
        self.realm = realm or Realm()
        self.server: Kerberos = package(**more)
        self.keytab: Keytab = self.realm.keytab
        self.services = new_services()
        self.met = 0

    def meet(self, tickets: Tickets, *, mine: Options | None = None, theirs: Options | None = None) -> Meeting:
        """Each time another authenticator."""
        self.met += 1
        mine = mine or options(self.met, now=NOW + timedelta(microseconds=self.met))
        theirs = theirs or options(1000 + self.met)
        return meet(tickets, self.keytab, server=self.server, services=self.services, mine=mine, theirs=theirs)

    def accepts(self, tickets: Tickets, **more: Any) -> None:
        assert not self.meet(tickets, **more).errors

    def refuses(self, kind: type[HandshakeError], tickets: Tickets, **more: Any) -> None:
        met = self.meet(tickets, **more)
        assert type(met.errors[Role.ACCEPTOR]) is kind, met.errors


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[EncTicketPart]:
    """The tickets that were judged in full."""
    found: list[EncTicketPart] = []
    judged = authenticating._prove  # pyright: ignore[reportPrivateUsage]  to see it called

    def prove(policy: Any, ticket: OpenedTicket, refuser: Any) -> Any:
        found.append(ticket.content)
        return judged(policy, ticket, refuser)

    monkeypatch.setattr(authenticating, "_prove", prove)
    return found


def test_second_connection_finds_the_same_client(opened: list[EncTicketPart]) -> None:
    acceptor = Acceptor()
    tickets = acceptor.realm.tickets(acceptor.realm.with_pac(BUFFERS))
    first, second = acceptor.meet(tickets), acceptor.meet(tickets)
    assert len(opened) == 1
    assert first.acceptor is not None
    assert second.acceptor is not None
    assert first.acceptor.peer == second.acceptor.peer
    assert second.acceptor.peer.groups == first.acceptor.peer.groups != ()
    mine, theirs = second.contexts
    assert theirs.unwrap(mine.wrap(b"data")).data == b"data"
    assert mine.session_key not in (first.contexts[0].session_key, acceptor.realm.key.contents.reveal())
    assert theirs.authorization_data == first.contexts[1].authorization_data != ()


def test_tickets_are_told_apart(opened: list[EncTicketPart]) -> None:
    acceptor = Acceptor()
    bob = Realm(client=KerberosName.parse(f"bob@{REALM}"), key=acceptor.realm.key)
    names: list[str] = []
    for realm in (acceptor.realm, bob):
        tickets = realm.tickets()
        for _ in range(2):
            met = acceptor.meet(tickets)
            assert met.acceptor is not None
            names.append(met.acceptor.peer.name)
    assert names == ["alice", "alice", "bob", "bob"]
    assert len(opened) == 2


def test_known_ticket_expires() -> None:
    acceptor = Acceptor()
    tickets = acceptor.realm.tickets(acceptor.realm.part(endtime=NOW + timedelta(minutes=1)))
    acceptor.accepts(tickets)
    late = options(now=NOW + timedelta(minutes=7))
    acceptor.refuses(LogonDenied, tickets, mine=options(now=NOW + timedelta(minutes=7)), theirs=late)


def test_known_ticket_needs_its_session_key() -> None:
    acceptor = Acceptor()
    ticket = acceptor.realm.cached()
    acceptor.accepts(acceptor.realm.tickets(ticket=ticket.ticket))
    thief = acceptor.realm.tickets(ticket=ticket.ticket, key=key_of())
    acceptor.refuses(LogonDenied, thief)


def test_known_ticket_names_its_client() -> None:
    acceptor = Acceptor()
    ticket = acceptor.realm.cached()
    acceptor.accepts(acceptor.realm.tickets(ticket=ticket.ticket))
    admin = Realm(client=KerberosName.parse(f"admin@{REALM}"), session=acceptor.realm.session)
    acceptor.refuses(InvalidToken, admin.tickets(ticket=ticket.ticket))


def test_replay_skew_and_bindings_are_judged_each_time() -> None:
    acceptor = Acceptor()
    tickets = acceptor.realm.tickets()
    acceptor.accepts(tickets, mine=options(9, bindings=BINDINGS), theirs=options(10, bindings=BINDINGS))
    acceptor.refuses(Replay, tickets, mine=options(9, bindings=BINDINGS), theirs=options(10, bindings=BINDINGS))
    acceptor.refuses(TimeSkew, tickets, mine=options(11, now=NOW + timedelta(minutes=20)))
    acceptor.refuses(BadBindings, tickets, theirs=options(12, bindings=OTHER_BINDINGS), mine=_bound(BINDINGS))


def _bound(bindings: ChannelBindings) -> Options:
    return options(13, bindings=bindings, now=NOW + timedelta(seconds=13))


def test_same_ciphertext_under_another_name_is_refused() -> None:
    acceptor = Acceptor()
    good = acceptor.realm.cached().ticket
    acceptor.accepts(acceptor.realm.tickets(ticket=good))
    renamed = replace(Ticket.decode(good), realm="OTHER.EXAMPLE").encode()
    acceptor.refuses(TargetUnknown, acceptor.realm.tickets(ticket=renamed))


def test_refused_pac_is_refused_each_time(opened: list[EncTicketPart]) -> None:
    """SECURITY 16: nothing is kept of what failed a check."""
    acceptor = Acceptor()
    forged = Realm(key=key_of(), krbtgt=key_of()).with_pac(BUFFERS)
    forged = replace(acceptor.realm.part(), authorization_data=forged.authorization_data)
    tickets = acceptor.realm.tickets(forged)
    for _ in range(3):
        acceptor.refuses(PacRefused, tickets)
    assert len(opened) == 3


def test_other_keys_know_nothing(opened: list[EncTicketPart]) -> None:
    """A key that left the keytab opens nothing more."""
    acceptor = Acceptor()
    tickets = acceptor.realm.tickets()
    acceptor.accepts(tickets)
    acceptor.keytab = Realm(key=key_of()).keytab
    acceptor.refuses(LogonDenied, tickets)
    acceptor.keytab = acceptor.realm.keytab
    acceptor.accepts(tickets)
    assert len(opened) == 2


# --- the memory of it ------------------------------------------------------------------------------------------------


def one() -> OpenedTicket:
    realm = Realm()
    return OpenedTicket(realm.part(), realm.key, key_of())


def place(number: int) -> Place:
    return "EXAMPLE.COM", 2, ("host", "files.example"), 18, 1, number.to_bytes(32, "big")


def test_number_is_bounded_and_the_latest_stay() -> None:
    kept, ticket = KnownTickets(), one()
    for number in range(3 * MOST_KEPT):
        kept.keep(place(number), ticket, NOW)
        assert kept.find(place(0), NOW) is ticket  # in use all the time
        assert len(kept) <= MOST_KEPT
    assert kept.find(place(3 * MOST_KEPT - 1), NOW) is ticket
    assert kept.find(place(1), NOW) is None


@pytest.mark.parametrize(
    ("moments", "known"),
    [
        ([0.5], True),
        ([1.5], True),
        ([2.0], False),
        ([5.0], False),
        ([0.9, 1.8, 2.7, 3.6], True),
    ],
)
def test_age_is_bounded(moments: list[float], known: bool) -> None:
    kept, ticket = KnownTickets(), one()
    kept.keep(place(1), ticket, NOW)
    found = [kept.find(place(1), _after(moment)) is ticket for moment in moments]
    assert found[-1] is known


def _after(times: float) -> datetime:
    return NOW + LONGEST_KEPT * times


def test_others_do_not_keep_an_old_ticket() -> None:
    kept, ticket = KnownTickets(), one()
    kept.keep(place(1), ticket, NOW)
    for tenth in range(1, 21):
        kept.find(place(2), _after(tenth / 10))
    assert len(kept) == 0


def test_large_tickets_are_opened_each_time() -> None:
    realm = Realm()
    ticket = Ticket.decode(realm.seal(realm.part()))
    assert place_of(ticket) is not None
    sealed = replace(ticket.enc_part, cipher=bytes(LARGEST_KEPT + 1))
    assert place_of(replace(ticket, enc_part=sealed)) is None


def test_place_depends_on_all_that_says_which_key() -> None:
    realm = Realm()
    ticket = Ticket.decode(realm.seal(realm.part()))
    sealed = ticket.enc_part
    changed = (
        replace(ticket, realm="OTHER"),
        replace(ticket, sname=replace(ticket.sname, name_string=("host", "other"))),
        replace(ticket, sname=replace(ticket.sname, name_type=0)),
        replace(ticket, enc_part=replace(sealed, etype=17)),
        replace(ticket, enc_part=replace(sealed, kvno=None)),
        replace(ticket, enc_part=replace(sealed, cipher=sealed.cipher + b"\0")),
    )
    assert len({place_of(ticket), *map(place_of, changed)}) == 1 + len(changed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_child_knows_none() -> None:
    kept, ticket = KnownTickets(), one()
    kept.keep(place(1), ticket, NOW)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if len(kept) == 0:
                kept.keep(place(2), ticket, NOW)
                grandchild = os.fork()
                if grandchild == 0:
                    os._exit(len(kept))
                status = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert kept.find(place(1), NOW) is ticket
