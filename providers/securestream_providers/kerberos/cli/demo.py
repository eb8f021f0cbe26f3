"""Scenes of ``make demo``: a KDC in a process of its own, asked over UDP and over TCP, both through a relay."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from securestream.cli.demo.legs import TCP, UDP, Leg
from securestream.cli.demo.processes import Talker
from securestream.cli.demo.scenes import Maker, Scene
from securestream_providers.kerberos.cli import demo_kdc
from securestream_providers.kerberos.cli.demo_kdc import SERVICE_KEYTAB, USER_KEYTAB
from securestream_providers.kerberos.cli.show import describe_etype, describe_message
from securestream_providers.krb5.gss_token import unframe
from securestream_providers.krb5.keytab import read_keytab
from securestream_providers.krb5.messages import ApRep, ApReq

REALM = "DEMO.EXAMPLE"
USER = f"alice@{REALM}"
SERVICE = "host/files.example"

_CONFIGURATION = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    udp_preference_limit = {limit}
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    files.example = {realm}
"""


def _configuration(folder: Path, port: int, transport: str) -> Path:
    """A krb5.conf that leads to that port, over UDP or over nothing but TCP."""
    path = folder / "krb5.conf"
    limit = 1 if transport == TCP else 65535
    path.write_text(_CONFIGURATION.format(realm=REALM, port=port, limit=limit), encoding="utf-8")
    return path


def covered(token: bytes) -> list[int]:
    """Where the ciphertexts of an AP-REQ or AP-REP stand in `token`.

    What stands in clear around them, such as the case of the service's name, RFC 4120 leaves unprotected in part: it
    only helps to find the key.
    """
    body = unframe(token).body
    if body[:1] == b"\x6e":
        request = ApReq.decode(body)
        sealed = [request.ticket.enc_part, request.authenticator]
    else:
        sealed = [ApRep.decode(body).enc_part]
    starts = [(token.index(part.cipher), len(part.cipher)) for part in sealed]
    return [position for start, length in starts for position in range(start, start + length)]


@contextmanager
def _scene(folder: Path, transport: str, *, by_keytab: bool) -> Generator[Scene]:
    password = secrets.token_urlsafe(24)
    service, own = folder / SERVICE_KEYTAB, folder / USER_KEYTAB
    asked = TCP if by_keytab else f"{UDP} (over {TCP} for what no datagram holds)"
    kdc = Talker("KDC", [demo_kdc.__name__, REALM, str(folder), USER, SERVICE], password)
    with kdc, Leg("the KDC", kdc.hear("port")["port"], transport, describe_message) as leg:
        yield Scene(
            title=f"{USER} by {'the keys of her keytab' if by_keytab else 'her password'}, the KDC over {asked}",
            serve=["--package", "kerberos", "--keytab", str(service), "--echo"],
            connect=[
                *("--package", "kerberos", "--target", SERVICE, "--user", USER),
                *(("--keytab", str(own)) if by_keytab else ()),
            ],
            wire="nns",
            peer=f"{REALM}\\alice",
            password=password,
            environ={"KRB5_CONFIG": str(_configuration(folder, leg.port, transport))},
            hidden={
                f"{whose} ({describe_etype(entry.key.etype)})": entry.key.contents.reveal()
                for whose, file in (("her key", own), ("the service's key", service))
                for entry in read_keytab(file.read_bytes())
            },
            legs=(leg,),
            covered=covered,
        )


def by_password(folder: Path) -> AbstractContextManager[Scene]:
    """A password, over UDP."""
    return _scene(folder, UDP, by_keytab=False)


def by_keytab(folder: Path) -> AbstractContextManager[Scene]:
    """A keytab, over TCP."""
    return _scene(folder, TCP, by_keytab=True)


SCENES: tuple[Maker, ...] = (by_password, by_keytab)
"""What the demonstration runs."""
