"""SECURITY rule 1 at the KDC: no password and no key in what it shows, logs or raises."""

from __future__ import annotations

import base64
import copy
import io
import logging
import os
import pickle
import traceback
from dataclasses import asdict
from pathlib import Path

import pytest

from securestream.redaction import Secret
from securestream_providers.kerberos.kdc.database_sqlite import SqlitePrincipals
from securestream_providers.kerberos.kdc.passwords import PasswordService
from securestream_providers.krb5.keys import make_key, random_key
from tests.providers.kerberos.forged import REALM, Bench, name

CANARY = "canary-password-7f3a"


def _forms(octets: bytes) -> list[bytes]:
    text = octets.hex()
    wide = octets.decode("latin-1").encode("utf-16-le")
    return [octets, wide, text.encode(), text.upper().encode(), base64.b64encode(octets), repr(octets)[2:-1].encode()]


def _holds(shown: str, *secrets: bytes) -> bool:
    encoded = shown.encode("utf-8", "backslashreplace")
    return any(form in encoded for secret in secrets for form in _forms(secret))


def test_what_a_kdc_holds_shows_no_secret(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    store = SqlitePrincipals(tmp_path / "kdc.db", realm=REALM)
    for bench in (Bench(), Bench(database=store)):
        bench.kdc.add_principal("alice", CANARY, etypes=(18,))
        account = bench.kdc.database.find(bench.kdc.name("alice"))
        assert account is not None
        secrets = (CANARY.encode(), *(stored.key.contents.reveal() for stored in account.keys))
        tgt = bench.tgt("alice")
        shown = [
            *(bench.kdc, bench.kdc.kdc, bench.kdc.kdc.realm, bench.kdc.passwords, bench.kdc.database, account),
            *(account.keys, tgt.part, bench.kdc.entries("alice"), bench.kdc.keytab("alice")),
        ]
        assert not _holds(repr(shown), *secrets, tgt.session.contents.reveal())
        for refused in (pickle.dumps, copy.deepcopy, asdict):
            with pytest.raises(TypeError, match="secret"):
                refused(account)


def test_a_failure_within_the_kdc_shows_no_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that breaks while a password is set: with the locals of every frame, no password is told."""
    bench = Bench()
    bench.kdc.add_principal("alice", CANARY, etypes=(18,))
    account = bench.kdc.database.find(bench.kdc.name("alice"))
    assert account is not None

    def broken(principal: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.kdc.database, "put", broken)
    new = "canary-new-password"
    service: PasswordService = bench.kdc.passwords
    with caplog.at_level(logging.DEBUG):
        try:
            service._set(account, Secret(new.encode()))  # pyright: ignore[reportPrivateUsage]  # after its proofs
        except ZeroDivisionError as error:
            told = io.StringIO()
            found = traceback.TracebackException.from_exception(error, capture_locals=True)
            own = [frame for frame in found.stack if "securestream" in frame.filename]
            told.write("".join(f"{frame.name} {frame.locals}" for frame in own))
            assert not _holds(told.getvalue(), new.encode(), account.keys[0].key.contents.reveal())
        else:
            pytest.fail("it did not break")
    assert not _holds(caplog.text, new.encode())


def test_refusals_tell_no_secret() -> None:
    bench = Bench()
    bench.kdc.add_principal("alice", CANARY, etypes=(18,))
    bench.kdc.add_service("host/a")
    key = bench.key("alice")
    tgt = bench.tgt("alice")
    keys = [key, tgt.session, bench.key("host/a"), bench.key(f"krbtgt/{REALM}")]
    secrets = [one.contents.reveal() for one in keys]
    for request in (
        bench.as_req("alice"),
        bench.as_req("alice", random_key(18, os.urandom)),
        bench.as_req("alice", make_key(18, bytes(32)), etype=(23,)),
        bench.as_req("nobody"),
        bench.tgs_req(tgt, "host/nowhere"),
        bench.tgs_req(tgt, "host/a", header={"client": (REALM, name("bob"))}),
    ):
        reply = bench.send(request)
        assert reply is not None
        assert all(form not in reply for secret in (*secrets, CANARY.encode()) for form in _forms(secret)[:4])
