"""Rule 7: the same name proved by two packages is two identities, on real handshakes of both."""

from __future__ import annotations

import pytest

from securestream.ambient import system_options
from securestream.credentials import Accounts, Password
from securestream.errors import CertificateRejected, InvalidToken
from securestream.options import Protection, Role
from securestream.principal import NameType, Principal
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import NameType as KerberosNameType
from securestream_providers.krb5.pac_principal import principal_of
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.providers.kerberos.ends import REALM, Realm, meet
from tests.providers.ntlm.ends import handshake
from tests.providers.schannel.loopback import run

CA = authority("identity")
SERVER = CA.leaf(["localhost"])


def by_ntlm(name: str) -> Principal:
    store = MemoryAccounts()
    store.add(name, "a password")
    return handshake(credential=Password(name, "a password"), accounts=Accounts(store)).peer


def by_certificate(**names: str | list[str]) -> Principal:
    leaf = CA.leaf(usage=["client"], **{"names": [], **names})  # type: ignore[arg-type]  # keywords as given
    server = Schannel(client_certificates="required", trust=CA.pem, upn_issuers=[CA.pem])
    loop = run(
        Schannel(trust=CA.pem),
        server,
        client_credential=leaf.credential,
        server_credential=SERVER.credential,
        options=system_options(protection=Protection.ENCRYPT_AND_SIGN),
    )
    if loop.server.error is not None:
        raise loop.server.error
    assert loop.server.established is not None
    return loop.server.established.peer


def test_a_certificate_for_alice_at_corp_is_not_corps_alice_of_ntlm() -> None:
    ntlm = by_ntlm(r"CORP\alice")
    upn = by_certificate(upn="alice@CORP")
    dns = by_certificate(names=["alice.corp"])
    assert (ntlm.name, ntlm.authority, ntlm.package) == ("alice", "CORP", "NTLM")
    assert (upn.name, upn.name_type, upn.package) == ("alice@CORP", NameType.UPN, "Schannel")
    assert len({ntlm, upn, dns}) == 3
    assert len({str(ntlm), str(upn), str(dns)}) == 3
    assert upn != Principal("alice@CORP", "Kerberos", "CORP")
    assert by_ntlm("alice@CORP") != upn


@pytest.mark.parametrize("name", ["alice@CORP", r"CORP\alice", "CORP/alice", "a..b", "alice:x"])
def test_a_dns_name_that_looks_like_another_kind_of_name_is_nobodys(name: str) -> None:
    """`--allow alice@CORP` compares what is printed: a dNSName must not print as a user principal name."""
    with pytest.raises(CertificateRejected):
        by_certificate(names=[name])


# --- Kerberos --------------------------------------------------------------------------------------------------------


def by_kerberos(*components: str, kind: int = KerberosNameType.PRINCIPAL) -> Principal:
    realm = Realm(client=KerberosName(REALM, components, kind))
    met = meet(realm.tickets(), realm.keytab)
    if met.acceptor is None:
        raise met.errors[Role.ACCEPTOR]
    return met.acceptor.peer


DIFFERENT = [
    *(("a", "b/c"), ("a/b", "c"), ("a", "b", "c"), ("a/b/c",), ("a\\", "b/c"), ("a\\/b", "c")),
    *(("a\0", "b"), ("a\\0", "b"), ("a", "b"), ("a", ""), ("", "a"), ("a",), ("a\0",), ("a@CORP.EXAMPLE",)),
]


@pytest.mark.parametrize("kind", [KerberosNameType.PRINCIPAL, KerberosNameType.ENTERPRISE])
def test_different_names_of_one_realm_are_different_identities(kind: int) -> None:
    found = [by_kerberos(*components, kind=kind) for components in DIFFERENT]
    assert len(set(found)) == len({str(one) for one in found}) == len(DIFFERENT)
    assert not any("\0" in one.name for one in found)


def test_a_usual_name_is_shown_as_it_is_typed() -> None:
    assert by_kerberos("alice").name == "alice"
    assert by_kerberos("host", "files.corp.example").name == "host/files.corp.example"
    assert by_kerberos("alice@corp.example", kind=KerberosNameType.ENTERPRISE).name == "alice@corp.example"


@pytest.mark.parametrize("components", [(), ("",), ("", "")])
def test_a_client_without_a_name_is_nobody(components: tuple[str, ...]) -> None:
    with pytest.raises(InvalidToken, match="no name"):
        principal_of(None, KerberosName(REALM, components))
    with pytest.raises(InvalidToken):
        by_kerberos(*components)


def test_a_name_with_an_at_of_another_realm_is_not_printed_as_ours() -> None:
    """``serve --allow`` compares what is printed."""
    foreign = principal_of(None, KerberosName("OTHER", ("alice@CORP",), KerberosNameType.ENTERPRISE))
    assert str(foreign) == r"OTHER\alice@CORP"
