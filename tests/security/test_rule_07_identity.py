"""Rule 7: the same name proved by two packages is two identities, on real handshakes of both."""

from __future__ import annotations

import pytest

from securestream.ambient import system_options
from securestream.credentials import Accounts, Password
from securestream.errors import CertificateRejected
from securestream.options import Protection
from securestream.principal import NameType, Principal
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.schannel import Schannel
from tests.certificates import authority
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
