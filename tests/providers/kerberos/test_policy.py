"""The arguments of `Kerberos`, the realms of a path, error tokens, delegation: what the two ends agree on and say."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from securestream.ambient import system_options
from securestream.credentials import Accounts, Credential, CredentialCache, Keytab, NtHash, Password
from securestream.drive import Services
from securestream.errors import ErrorKind, NoCredentials, PeerRefused, TargetUnknown, UsageError
from securestream.options import ContextFlags, Role
from securestream.provider import Effect, TargetName
from securestream_providers.kerberos import Kerberos
from securestream_providers.kerberos.effects import KdcRequest, LoadConfiguration, LoadKeytab
from securestream_providers.kerberos.realms import expand
from securestream_providers.krb5 import gss_token
from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from securestream_providers.krb5.gss_checksum import GssChecksum
from securestream_providers.krb5.messages import ApReq, Authenticator
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import KeyUsage, TicketFlags
from securestream_providers.krb5.tickets import TicketCache
from tests.providers.kerberos.ends import (
    ALICE,
    CONFIG,
    REALM,
    Realm,
    meet,
    new_services,
    options,
    package,
    ticket_granting,
)


def configuration(package_: Kerberos) -> Krb5Config:
    """What a package makes of the system's configuration."""

    def run() -> Generator[Effect[Any], Any, Krb5Config]:
        return (yield from package_.configuration())

    steps = run()
    try:
        asked = next(steps)
        assert isinstance(asked, LoadConfiguration)
        steps.send(CONFIG)
    except StopIteration as stop:
        found: Krb5Config = stop.value
        return found
    raise AssertionError("one question is enough")


def test_realm_and_kdc_stand_in_place_of_the_configurations() -> None:
    found = configuration(
        Kerberos(realm="X.EXAMPLE", kdc=("one", "two:750", "tcp/three", "https://p.example/Kdc", "[::1]:89"))
    )
    assert found.default_realm == "X.EXAMPLE"
    assert found.realms["X.EXAMPLE"].kdcs == (
        KdcAddress("one"),
        KdcAddress("two", 750),
        KdcAddress("three", 88, "tcp"),
        KdcAddress("p.example", 443, "https", "/Kdc"),
        KdcAddress("::1", 89),
    )


def test_other_settings_of_the_realm_stay() -> None:
    config = replace(CONFIG, realms={REALM: RealmConfig(settings={"a": "b"})})
    found = next(run_out(Kerberos(config=config, realm=REALM, kdc="kdc.example")))
    assert found.realms[REALM].settings == {"a": "b"}


def run_out(package_: Kerberos) -> Generator[Krb5Config, None, None]:
    """The configuration of a package that asks for nothing."""
    steps = package_.configuration()
    try:
        next(steps)
    except StopIteration as stop:
        yield stop.value


@pytest.mark.parametrize("arguments", [{"weak": ("des-cbc-md5",)}, {"kdc": "kdc.example"}, {"weak": "rc4"}])
def test_arguments_that_contradict_each_other(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Kerberos(**arguments)


def test_an_address_that_is_none() -> None:
    with pytest.raises(UsageError, match="host:port"):
        configuration(Kerberos(realm=REALM, kdc="host:port"))


def test_weak_types_are_used_only_where_they_are_named() -> None:
    config = replace(CONFIG, permitted_etypes=(18, 23, 16, 3))
    assert Kerberos().etypes(config) == (18,)
    assert Kerberos(weak=("rc4-hmac",)).etypes(config) == (18, 23)
    assert Kerberos(weak="des3-cbc-sha1-kd").etypes(CONFIG)[-1] == 16


@pytest.mark.parametrize("role", Role)
def test_what_each_role_can_use(role: Role) -> None:
    assert Kerberos().usable(None, role) is None
    assert Kerberos().usable(Keytab(), role) is None
    assert Kerberos().usable(Realm().tickets(), role) is None
    assert Kerberos().usable(Password("alice", "x"), role) is None
    refused = Kerberos().usable(NtHash("alice", bytes(16)), role)
    assert refused is not None
    assert "Keytab" in refused.reason
    assert Kerberos().usable(Accounts.memory(), role) is not None


@pytest.mark.parametrize(
    ("text", "realms"),
    [
        ("A,B", ["A", "B"]),
        (r"A\,X,B", ["A,X", "B"]),
        ("EDU,MIT.,ATHENA.,WASHINGTON.EDU", ["EDU", "MIT.EDU", "ATHENA.MIT.EDU", "WASHINGTON.EDU"]),
        ("/COM,/HP,/APOLLO", ["/COM", "/COM/HP", "/COM/HP/APOLLO"]),
        ("A,,B", None),
        ("A,", None),
        ("A\\", None),
        (",".join("x" * 65), None),
    ],
)
def test_the_realms_on_the_way(text: str, realms: list[str] | None) -> None:
    """RFC 4120 3.3.3.2, with its examples."""
    assert expand(text) == realms


def test_an_extended_error_has_windows_number() -> None:
    """[MS-KILE] 2.2.1: the initiator asked for it, and the acceptor says what happened."""
    realm = Realm()
    flags = ContextFlags.MUTUAL | ContextFlags.EXTENDED_ERROR
    services = new_services()
    client = package()
    first = meet(realm.tickets(), realm.keytab, client=client, mine=options(1, flags=flags), services=services)
    assert first.acceptor is not None
    again = meet(
        realm.tickets(),
        realm.keytab,
        client=client,
        mine=options(1, flags=flags),
        services=services,
        alter=lambda leg, token: first.tokens[0] if leg == 0 else token,
    )
    told = again.errors[Role.INITIATOR]
    assert isinstance(told, PeerRefused)
    assert told.kind is ErrorKind.REPLAY
    assert f"NTSTATUS 0x{ErrorKind.REPLAY.ntstatus:08X}" in str(told)


# --- delegation ------------------------------------------------------------------------------------------------------


class Asked(Services):
    """Notes whether a KDC was asked, and does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[KdcRequest] = []
        self.register(KdcRequest, blocking=self.refuse)

    def refuse(self, effect: KdcRequest) -> bytes:
        """No answer."""
        self.requests.append(effect)
        raise OSError("no KDC in this test")


@pytest.mark.parametrize(
    ("marked", "forwardable", "delegation", "asks"),
    [
        (False, True, "trusted", False),
        (True, True, "trusted", True),
        (False, True, "always", True),
        (True, False, "trusted", False),
        (False, False, "always", False),
    ],
)
def test_tickets_are_delegated_where_the_kdc_says_so_or_the_caller(
    marked: bool, forwardable: bool, delegation: Any, asks: bool
) -> None:
    """SECURITY 14."""
    realm = Realm()
    service = realm.cached(flags=TicketFlags.OK_AS_DELEGATE if marked else TicketFlags(0))
    tgt = replace(ticket_granting(realm), flags=TicketFlags.FORWARDABLE if forwardable else TicketFlags(0))
    held = replace(realm.tickets(), cache=TicketCache(ALICE, (service, tgt)))
    services = Asked()
    met = meet(
        held,
        realm.keytab,
        client=package(delegation=delegation),
        mine=options(1, flags=ContextFlags.MUTUAL | ContextFlags.DELEGATE),
        services=services,
    )
    assert bool(services.requests) is asks
    if not asks:
        token = met.tokens[0]
        assert realm.session is not None
        request = ApReq.decode(gss_token.unframe(token).body)
        made = Authenticator.decode(realm.session.decrypt(KeyUsage.AP_REQ_AUTHENTICATOR, request.authenticator.cipher))
        assert made.cksum is not None
        checksum = GssChecksum.unpack(made.cksum.checksum)
        assert not checksum.flags & 1
        assert checksum.delegation is None


# --- what an acceptor has ---------------------------------------------------------------------------------------------


class NoKeytab(Services):
    """There is no default keytab."""

    def __init__(self) -> None:
        super().__init__()
        self.register(LoadKeytab, blocking=self.refuse)

    def refuse(self, effect: LoadKeytab) -> Any:
        """None."""
        raise NoCredentials("there is no keytab /etc/krb5.keytab")


@pytest.mark.parametrize("accepting", [CredentialCache("/nowhere"), Realm().tickets()])
def test_an_acceptor_with_tickets_says_that_it_is_for_user_to_user_clients(accepting: Credential) -> None:
    error = meet(Realm().tickets(), accepting, services=NoKeytab()).errors[Role.ACCEPTOR]
    assert isinstance(error, NoCredentials)
    assert "user-to-user" in str(error)
    assert "/etc/krb5.keytab" not in str(error)


@pytest.mark.parametrize("accepting", [None, Password("alice", "a password")])
def test_any_other_acceptor_hears_which_keytab_is_missing(accepting: Credential | None) -> None:
    error = meet(Realm().tickets(), accepting, services=NoKeytab()).errors[Role.ACCEPTOR]
    assert "there is no keytab /etc/krb5.keytab" in str(error)


# --- targets ---------------------------------------------------------------------------------------------------------


def test_a_host_alone_is_the_service_host() -> None:
    realm = Realm()
    assert meet(realm.tickets(), realm.keytab, target=TargetName("files.corp.example")).acceptor is not None
    assert (
        meet(realm.tickets(), realm.keytab, target=TargetName(f"host/files.corp.example@{REALM}")).acceptor is not None
    )


def test_names_are_kept_and_refused_alike_each_time() -> None:
    end = package()
    for _ in range(2):
        with pytest.raises(TargetUnknown):
            end.service_name(TargetName("host/"), CONFIG)
        assert end.service_name(TargetName("web.example"), CONFIG) == KerberosName("", ("host", "web.example"))
    for number in range(300):
        end.service_name(TargetName(f"h{number}.example"), CONFIG)


def test_a_ticket_granting_service_is_no_target_of_ours() -> None:
    assert not package().serves(tgs_name(REALM))
    assert system_options().max_skew.total_seconds() == 300
