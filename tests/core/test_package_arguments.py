"""A name or a class where a package is wanted is refused there, by what to write; names work where they are taken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import securestream
from securestream.blocking import SecureSocket
from securestream.credentials import Accounts, Password
from securestream.errors import UsageError
from securestream.http import AuthenticationMiddleware, SecureAuth, SecureTransport, TokenScheme
from securestream.http.client import HttpClient
from securestream.options import Options
from securestream.registry import Registry
from securestream.sasl.exchange import SaslClient
from securestream.sasl.gs2_krb5 import Gs2Krb5
from securestream.sasl.gss_spnego import GssSpnego
from securestream.sasl.gssapi import Gssapi
from securestream.streams.connect import listen
from securestream_providers.credssp import CredSsp
from securestream_providers.digest import Digest, DigestClient, DigestMd5, DigestServer
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

ALICE = Password("alice", "correct horse")
ACCOUNTS = Accounts.memory(alice="correct horse")
OPTIONS = Options(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC), random=bytes)
no_socket: Any = None

NO_PACKAGES: list[tuple[Callable[[Any], object], Any, str]] = [
    (Negotiate, "kerberos", r"Negotiate takes a package itself, not the name 'kerberos' of one: give an instance, Neg"),
    (Negotiate, Ntlm, r"Negotiate takes a package, and Ntlm is a class: give an instance, Ntlm\(\)$"),
    (Negotiate, [Kerberos(), Ntlm()], r"a value of type list: give an instance, Negotiate\(Kerberos\(\), Ntlm\(\)\)"),
    (Negotiate, None, r"not None"),
    (Negotiate(Ntlm()).with_mechanisms, Ntlm, r"Ntlm\(\)$"),
    (CredSsp, "ntlm", r"CredSsp\(Negotiate\(\)\)$"),
    (CredSsp, Ntlm, r"Ntlm\(\)$"),
    (lambda given: CredSsp(Ntlm(), given), "schannel", r"tls=Schannel\(\)$"),
    (Gssapi, "kerberos", r"Gssapi\(Kerberos\(\)\)$"),
    (Gssapi, Kerberos, r"Kerberos\(\)$"),
    (GssSpnego, "negotiate", r"GssSpnego\(Negotiate\(\)\)$"),
    (GssSpnego, Negotiate, r"Negotiate\(\)$"),
    (Gs2Krb5, "kerberos", r"Gs2Krb5\(Kerberos\(\)\)$"),
    (Gs2Krb5, Kerberos, r"Kerberos\(\)$"),
    (lambda given: Digest(sasl=given), DigestMd5, r"DigestMd5\(\)$"),
    (lambda given: Digest(sasl=given), "digest-md5", r"sasl=DigestMd5"),
    (lambda given: SaslClient(given, options=OPTIONS), Gssapi, r"Gssapi\(\)$"),
    (lambda given: SaslClient(given, options=OPTIONS), "GSSAPI", r"find_mechanism"),
    (lambda given: TokenScheme("NTLM", given), Ntlm, r"Ntlm\(\)$"),
    (Registry.of, Ntlm, r"Ntlm\(\)$"),
    (lambda given: SecureSocket.wrap_client(no_socket, package=given), Ntlm, r'package="ntlm"|Ntlm\(\)$'),
]


@pytest.mark.parametrize(("make", "given", "sentence"), NO_PACKAGES)
def test_a_name_or_a_class_is_no_package(make: Callable[[Any], object], given: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make(given)


@pytest.mark.anyio
@pytest.mark.parametrize("given", [Negotiate, (Kerberos(), Ntlm()), None])
async def test_a_connection_takes_a_package_or_its_name(given: Any) -> None:
    with pytest.raises(UsageError, match="package= takes a package"):
        await listen("127.0.0.1", 0, package=given, credential=ACCOUNTS)
    with pytest.raises(UsageError, match="package= takes a package"):
        await securestream.connect("127.0.0.1", 9, package=given, credential=ALICE)


def test_where_connections_take_packages_names_work() -> None:
    assert TokenScheme("NTLM", "ntlm").name == "NTLM"
    with pytest.raises(UsageError, match="no package is called 'kerberoz'"):
        TokenScheme("Negotiate", "kerberoz")


# --- schemes of HTTP, in which packages are


async def _application(scope: Any, receive: Any, send: Any) -> None:
    """Never called."""


client: Any = DigestClient
server: Any = DigestServer
middleware: Any = AuthenticationMiddleware
ORIGIN = "https://files.example.com"
NO_SCHEMES: list[tuple[Callable[[], object], str]] = [
    (lambda: HttpClient(ORIGIN, bare), r'Negotiate is no scheme that answers .* TokenScheme\("Negotiate", Negotiate'),
    (lambda: SecureAuth(ORIGIN, bare), "Negotiate is no scheme that answers"),
    (lambda: SecureTransport(ORIGIN, client), r"DigestClient is no scheme .* or DigestClient\(\.\.\.\)"),
    (lambda: SecureTransport(ORIGIN, server(ACCOUNTS, "r")), "DigestServer is no scheme that answers"),
    (lambda: middleware(_application, [bare]), "Negotiate is no scheme that asks for credentials"),
    (lambda: middleware(_application, [client(ALICE)]), r"DigestClient is no scheme .* or DigestServer\(\.\.\.\)"),
    (lambda: middleware(_application, ["negotiate"]), "str is no scheme"),
    (lambda: middleware(_application, "negotiate"), "schemes takes a sequence"),
    (lambda: middleware(_application, TokenScheme("NTLM", "ntlm", ACCOUNTS)), "schemes takes a sequence"),
]
bare: Any = Negotiate()


@pytest.mark.parametrize(("make", "sentence"), NO_SCHEMES)
def test_a_package_is_no_scheme(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()
