"""Rule 14: which service a name means, and whom delegated tickets and proxied requests reach."""

from __future__ import annotations

import ast
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from securestream.errors import BadSignature, TargetUnknown
from securestream.provider import TargetName
from securestream_providers.kerberos import network
from securestream_providers.kerberos.client import realm_of_host, service_name
from securestream_providers.kerberos.network.transports import tls_context
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.keys import random_key
from securestream_providers.krb5.krb_cred import make_krb_cred, read_krb_cred
from securestream_providers.krb5.messages import EncryptedData, KrbCred, PrincipalName, Ticket
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import TicketFlags
from securestream_providers.krb5.tickets import CachedTicket

CONFIG = Krb5Config(
    default_realm="DEFAULT.COM",
    domain_realm={"db.corp.example": "DB.EXAMPLE", ".corp.example": "CORP.EXAMPLE", "example": "TOP"},
)
MARSHALLED = "1UWhRCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwbEAYBAAAA"


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("host/web.corp.example", "host/web.corp.example@CORP.EXAMPLE"),
        ("HTTP/DB.corp.example", "HTTP/DB.corp.example@DB.EXAMPLE"),
        ("web.corp.example", "host/web.corp.example@CORP.EXAMPLE"),
        ("host/corp.example", "host/corp.example@TOP"),
        ("ldap/dc.other.org/other.org", "ldap/dc.other.org/other.org"),
        ("host/web.other.org@OTHER.ORG", "host/web.other.org@OTHER.ORG"),
        ("host/192.0.2.1", "host/192.0.2.1"),
    ],
)
def test_the_name_is_the_one_that_was_typed(typed: str, means: str) -> None:
    assert str(service_name(TargetName(typed), CONFIG)) == means


@pytest.mark.parametrize(
    "name",
    [
        f"cifs/server{MARSHALLED}",
        f"cifs/srv1{MARSHALLED.lower()}.corp.example",
        f"{MARSHALLED}",
        f"cifs/{MARSHALLED}/corp",
        "host/a\0b",
        "host/",
        "/web",
        "",
        "host/web@A@B",
        "host/" + "a" * 2000,
        "host/web\n.example",
    ],
)
def test_names_with_marshalled_data_or_none_at_all_are_refused(name: str) -> None:
    with pytest.raises(TargetUnknown):
        service_name(TargetName(name), CONFIG)


def test_the_default_realm_is_no_answer_for_a_host_nobody_configured() -> None:
    assert realm_of_host(CONFIG, "web.other.org") == ""


def test_dns_never_decides_a_realm() -> None:
    """No TXT record is asked for anywhere, and only the network edge asks DNS at all."""
    folder = Path(network.__file__).parents[1]
    for file in folder.rglob("*.py"):
        tree = ast.parse(file.read_text())
        words = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert "TXT" not in words, file
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        if file.parent.name not in ("network", "kdc"):
            assert not names & {"getaddrinfo", "gethostbyname", "gethostbyaddr", "getfqdn", "getnameinfo"}, file


def test_a_proxys_certificate_and_name_are_verified() -> None:
    import ssl

    context = tls_context(())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def _ticket() -> CachedTicket:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    body = Ticket(5, "R", PrincipalName(2, ("krbtgt", "R")), EncryptedData(18, 1, bytes(40)))
    return CachedTicket(
        KerberosName("R", ("alice",)),
        tgs_name("R"),
        random_key(18, os.urandom),
        body.encode(),
        TicketFlags.FORWARDED,
        moment,
        None,
        moment + timedelta(hours=1),
    )


def test_delegated_tickets_must_be_encrypted() -> None:
    key = random_key(18, os.urandom)
    ticket = _ticket()
    message = make_krb_cred([ticket], key, datetime(2026, 1, 1, tzinfo=UTC), os.urandom)
    (read,) = read_krb_cred(message, random_key(18, os.urandom), key)
    assert (read.client, read.server, read.ticket, read.key) == (
        ticket.client,
        ticket.server,
        ticket.ticket,
        ticket.key,
    )
    with pytest.raises(BadSignature):
        read_krb_cred(message, random_key(18, os.urandom))
    opened = key.decrypt(14, KrbCred.decode(message).enc_part.cipher)
    clear = replace(KrbCred.decode(message), enc_part=EncryptedData(0, None, opened)).encode()
    with pytest.raises(BadSignature, match="unencrypted"):
        read_krb_cred(clear, key)
