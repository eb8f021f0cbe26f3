"""Scenes of ``make demo``: Kerberos, NTLM where no KDC is known, and a choice between them that nobody can sway."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from securestream.cli.demo.processes import Talker
from securestream.cli.demo.scenes import Maker, Scene, Target
from securestream.cli.demo.wire import CLIENT, SERVER, TOKEN, Flip, Unit
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.wire import der
from securestream_providers.krb5.gss_token import unframe as unframe_gss
from securestream_providers.krb5.keytab import read_keytab
from securestream_providers.krb5.messages import ApRep, ApReq
from securestream_providers.negotiate.messages import (
    KERBEROS,
    NTLM_SIGNATURE,
    NegTokenInit2,
    NegTokenResp,
    is_response,
    unframe,
)

REALM: Final = "DEMO.EXAMPLE"
SERVICE: Final = "host/files.example"

_KDC: Final = "securestream_providers.kerberos.cli.demo_kdc"
"""The program of the KDC; it writes both keytabs."""
_USER_KEYTAB, _SERVICE_KEYTAB = "user.keytab", "service.keytab"

_CONFIGURATION = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    files.example = {realm}
"""
_NO_REALM = """\
[libdefaults]
    dns_lookup_kdc = false
"""

_DOWNGRADE: Final = "Downgrade"
_BIT_OF_AN_OID, _BIT_OF_A_TAG, _BIT_OF_A_MIC = 5, 2, 3
_HEADS_OF_A_MIC: Final = 4
"""Octets from the MIC's own tag to the MIC: its tag and length twice (RFC 4178 4.2.2, with at most 127 octets)."""


def covered(token: bytes) -> list[int]:
    """Where octets stand in `token` that the mechanism inside, or the MIC over the list, protects.

    A mechanism that was the first choice of both leaves the list itself, and the state, unprotected (RFC 4178 5).
    """
    message = NegTokenResp.decode(token) if is_response(token) else unframe(token)
    inner = message.response_token if isinstance(message, NegTokenResp) else message.mech_token
    parts = [] if inner is None else list(_protected(inner))
    if message.mech_list_mic:
        parts.append(message.mech_list_mic)
    starts = [(token.index(part), len(part)) for part in parts]
    return [position for start, length in starts for position in range(start, start + length)]


def _protected(inner: bytes) -> Iterator[bytes]:
    """What NTLM and Kerberos protect of a token of theirs: all of it; the ciphertexts."""
    if inner.startswith(NTLM_SIGNATURE):
        yield inner
        return
    body = unframe_gss(inner).body
    if body[:1] == b"\x6e":
        request = ApReq.decode(body)
        yield from (request.ticket.enc_part.cipher, request.authenticator.cipher)
    else:
        yield ApRep.decode(body).enc_part.cipher


def list_target(units: Sequence[Unit]) -> list[Target]:
    """Kerberos's name in the client's list, so that the server finds NTLM alone in it."""
    index, unit = _first(units, CLIENT)
    name = der.oid_octets(KERBEROS)
    position = unit.payload.index(name) + len(name) - 1
    return [_target("the list of mechanisms in the handshake", unit, CLIENT, index, position, _BIT_OF_AN_OID)]


def mic_targets(units: Sequence[Unit]) -> list[Target]:
    """The MIC of each end: altered, and turned into a field that nobody knows, which is to take it away."""
    found: list[Target] = []
    for sender in (CLIENT, SERVER):
        index, unit, mic = _with_mic(units, sender)
        start = unit.payload.index(mic)
        found += [
            _target(f"the handshake's MIC, by the {sender}", unit, sender, index, start + len(mic) // 2, _BIT_OF_A_MIC),
            _target(
                f"the handshake's MIC, by the {sender}, taken away by that",
                unit,
                sender,
                index,
                start - _HEADS_OF_A_MIC,
                _BIT_OF_A_TAG,
            ),
        ]
    return found


def _target(title: str, unit: Unit, sender: str, index: int, position: int, bit: int) -> Target:
    return Target(title, Flip(sender, index, (position + 0.5) / len(unit.payload), bit), _DOWNGRADE)


def _tokens(units: Sequence[Unit], sender: str) -> Iterator[tuple[int, Unit]]:
    own = [unit for unit in units if unit.sender == sender]
    return ((index, unit) for index, unit in enumerate(own) if unit.kind == TOKEN)


def _first(units: Sequence[Unit], sender: str) -> tuple[int, Unit]:
    return next(_tokens(units, sender))


def _with_mic(units: Sequence[Unit], sender: str) -> tuple[int, Unit, bytes]:
    """The message in which `sender` sends its MIC.

    Raises:
        LookupError: there is none.
    """
    for index, unit in _tokens(units, sender):
        message = NegTokenResp.decode(unit.payload) if is_response(unit.payload) else unframe(unit.payload)
        if not isinstance(message, NegTokenInit2) and message.mech_list_mic:
            return index, unit, message.mech_list_mic
    raise LookupError(f"the {sender} sent no MIC over the list of mechanisms")


@contextmanager
def _kdc(folder: Path, user: str, password: str) -> Generator[dict[str, str]]:
    """A KDC of this run, its keytabs in `folder`: the variables by which both ends find it."""
    with Talker("KDC", [_KDC, REALM, str(folder), user, SERVICE], password) as kdc:
        path = folder / "krb5.conf"
        path.write_text(_CONFIGURATION.format(realm=REALM, port=kdc.hear("port")["port"]), encoding="utf-8")
        yield {"KRB5_CONFIG": str(path)}


def _keys(folder: Path) -> dict[str, bytes]:
    return {
        f"{whose} of type {entry.key.etype}": entry.key.contents.reveal()
        for whose, file in (("her key", folder / _USER_KEYTAB), ("the service's key", folder / _SERVICE_KEYTAB))
        for entry in read_keytab(file.read_bytes())
    }


def _accounts(folder: Path, password: str) -> str:
    store = folder / "accounts.db"
    SqliteAccounts(store).add("alice", password)
    return str(store)


@contextmanager
def _kerberos(folder: Path) -> Generator[Scene]:
    password = secrets.token_urlsafe(24)
    with _kdc(folder, f"alice@{REALM}", password) as environ:
        yield Scene(
            title="Kerberos, since the client has a KDC to ask; NTLM is not even offered",
            serve=["--keytab", str(folder / _SERVICE_KEYTAB), "--accounts", _accounts(folder, password), "--echo"],
            connect=["--target", SERVICE, "--user", f"alice@{REALM}", "--verbose"],
            wire="nns",
            peer=f"{REALM}\\alice",
            password=password,
            environ=environ,
            hidden=_keys(folder),
            covered=covered,
        )


@contextmanager
def _ntlm(folder: Path) -> Generator[Scene]:
    password = secrets.token_urlsafe(24)
    configuration = folder / "krb5.conf"
    configuration.write_text(_NO_REALM, encoding="utf-8")
    yield Scene(
        title="NTLM, since a user without a realm has no KDC; each end proves the list of mechanisms by a MIC",
        serve=["--accounts", _accounts(folder, password), "--echo"],
        connect=["--target", SERVICE, "--user", "alice", "--verbose"],
        wire="nns",
        peer="alice",
        password=password,
        environ={"KRB5_CONFIG": str(configuration)},
        covered=covered,
        targets=mic_targets,
    )


@contextmanager
def _swayed(folder: Path) -> Generator[Scene]:
    password = secrets.token_urlsafe(24)
    with _kdc(folder, f"alice@{REALM}", password) as environ:
        yield Scene(
            title="Kerberos before NTLM, both allowed: whoever rewrites the list gets neither",
            serve=["--keytab", str(folder / _SERVICE_KEYTAB), "--accounts", _accounts(folder, password), "--echo"],
            connect=["--target", SERVICE, "--user", "alice", "--ntlm", "always", "--verbose"],
            wire="nns",
            peer=f"{REALM}\\alice",
            password=password,
            environ=environ,
            hidden=_keys(folder),
            covered=covered,
            targets=list_target,
            at_random=False,
        )


SCENES: tuple[Maker, ...] = (_kerberos, _ntlm, _swayed)
"""What the demonstration runs."""
