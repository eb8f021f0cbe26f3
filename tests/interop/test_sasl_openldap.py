"""LDAP with OpenLDAP's server, which knows the question "Who am I?" (RFC 4532): asked through both of SASL's layers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

import pytest

import securestream as ss
from examples.ldap_whoami import Ldap, LdapError
from securestream.sasl import Gssapi, GssSpnego, SaslLayer, SaslMechanism
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.interop.expected_sasl_mit import SASL
from tests.interop.expected_sasl_openldap import MECHANISMS, OPENLDAP
from tests.interop.matrix import Filler
from tests.interop.peers import openldap
from tests.interop.peers.mit_kdc import HOST, MitKdc
from tests.interop.peers.openldap import OpenLdap

pytestmark = pytest.mark.interop

PASSWORD: Final = "correct horse"
SERVICE: Final = f"ldap/{HOST}"
OTHER: Final = f"HTTP/{HOST}"


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of OpenLDAP."""
    return require(openldap)


@pytest.fixture(scope="module")
def server(version: str, mit_kdc: MitKdc) -> Iterator[OpenLdap]:
    """OpenLDAP's server, with the key of its service, in a realm that has another service, too."""
    mit_kdc.add_user("alice", f'"{PASSWORD}"')
    mit_kdc.add_service(SERVICE)
    mit_kdc.add_service(OTHER, keytab=mit_kdc.folder / "other.keytab")
    with OpenLdap(HOST, mit_kdc.realm, mit_kdc.environment()) as running:
        yield running


def mechanism_of(name: str, kdc: MitKdc) -> SaslMechanism:
    kerberos = Kerberos(config=kdc.krb5_config())
    return Gssapi(kerberos) if name == "GSSAPI" else GssSpnego(Negotiate(kerberos, Ntlm()))


@contextmanager
def bound(server: OpenLdap, kdc: MitKdc, name: str, target: str = SERVICE) -> Generator[tuple[Ldap, ss.Established]]:
    """A connection on which alice logged on."""
    alice = ss.Password(f"alice@{kdc.realm}", PASSWORD)
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        ldap = Ldap(connection)
        yield ldap, ldap.bind(mechanism_of(name, kdc), alice, target)


@pytest.mark.parametrize("name", MECHANISMS)
def test_who_am_i(server: OpenLdap, mit_kdc: MitKdc, version: str, name: str, matrix: Filler) -> None:
    with bound(server, mit_kdc, name) as (ldap, established):
        for _ in range(3):
            assert ldap.who_am_i() == f"dn:uid=alice,cn={mit_kdc.realm.lower()},cn={name.lower()},cn=auth"
    assert established.peer.name == SERVICE
    matrix.fill(SASL, OPENLDAP, version, "server", f"LDAP sealed, {name}", "Who am I? alice")


@pytest.fixture
def unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example asks for no layer."""
    options = ss.system_options(protection=ss.Protection.NONE, flags=ss.ContextFlags.MUTUAL)
    monkeypatch.setattr("securestream.system_options", lambda: options)


@pytest.mark.usefixtures("unsealed")
def test_a_server_that_has_everything_sealed(server: OpenLdap, mit_kdc: MitKdc, version: str, matrix: Filler) -> None:
    with pytest.raises(ss.QualityNotMet, match="let the server offer more"), bound(server, mit_kdc, "GSSAPI"):
        pass
    matrix.fill(SASL, OPENLDAP, version, "server", "LDAP without a layer, GSSAPI, refused", "refused")


@pytest.mark.usefixtures("unsealed")
def test_negotiate_always_has_a_layer(server: OpenLdap, mit_kdc: MitKdc, version: str, matrix: Filler) -> None:
    with bound(server, mit_kdc, "GSS-SPNEGO") as (ldap, established):
        layer = established.result
        assert isinstance(layer, SaslLayer)
        assert layer.protection is ss.Protection.SIGN
        assert ldap.who_am_i().startswith("dn:uid=alice,")
    matrix.fill(SASL, OPENLDAP, version, "server", "LDAP signed, GSS-SPNEGO", "Who am I? alice")


def test_a_ticket_for_another_service(server: OpenLdap, mit_kdc: MitKdc, version: str, matrix: Filler) -> None:
    with pytest.raises(LdapError, match="failed with"), bound(server, mit_kdc, "GSSAPI", OTHER):
        pass
    matrix.fill(SASL, OPENLDAP, version, "server", "LDAP, ticket for another service", "refused")
