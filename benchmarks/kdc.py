"""KDC requests per second on one core: ours and krb5kdc, each a process that is asked over UDP."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks import pairs
from benchmarks.kerberos_realm import PASSWORD, realm, service
from benchmarks.measure import OURS, Effort, Section, Series, Timed, compare, plain, ratio
from securestream_providers.krb5.ap_requests import make_ap_req
from securestream_providers.krb5.keys import make_key, string_to_key
from securestream_providers.krb5.messages import (
    PVNO,
    AsRep,
    AsReq,
    Checksum,
    EncAsRepPart,
    KdcReqBody,
    KrbError,
    PaData,
    TgsReq,
)
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import EncryptionType, KeyUsage, PaType
from securestream_providers.krb5.preauth import default_salt, encrypted_timestamp
from securestream_providers.krb5.tickets import CachedTicket
from tests.interop.peers.mit_kdc import REALM

MIT: Final = "krb5kdc"
ETYPE: Final = EncryptionType.AES256_CTS_HMAC_SHA1_96
WANTED: Final = {"AS": 0x6B, "TGS": 0x6D}
"""How the replies begin."""

_numbers = count(1)


class Asker:
    """Asks one KDC, and knows the CPU time of its process.

    Args:
        process: its number.
        port: where it listens on loopback.
        name: of the realm.
    """

    def __init__(self, process: int, port: int, name: str) -> None:
        self._tasks = Path(f"/proc/{process}/task")
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.settimeout(10)
        self._socket.connect(("127.0.0.1", port))
        self._realm = name
        self._user = KerberosName.parse(pairs.USER, name)
        self._service = KerberosName.parse(service(ETYPE), name)
        self._key = string_to_key(ETYPE, PASSWORD, default_salt(self._user))
        self._tgt = self._first_ticket()

    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        times = [int((task / "schedstat").read_text().split()[0]) for task in self._tasks.iterdir()]
        return sum(times) / 1e9

    def ask(self, request: bytes, wanted: int) -> bytes:
        """The reply to a request."""
        self._socket.send(request)
        reply = self._socket.recv(65536)
        if reply[0] != wanted:
            raise RuntimeError(f"the KDC answered with {KrbError.decode(reply)}")
        return reply

    def _body(self, target: KerberosName, client: KerberosName | None) -> KdcReqBody:
        now = datetime.now(UTC).replace(microsecond=0)
        return KdcReqBody(
            0,
            None if client is None else client.principal_name,
            self._realm,
            target.principal_name,
            None,
            now + timedelta(hours=8),
            None,
            next(_numbers),
            (ETYPE,),
        )

    def as_request(self) -> bytes:
        """A new AS-REQ with an encrypted timestamp."""
        proof = encrypted_timestamp(self._key, datetime.now(UTC), os.urandom)
        return AsReq(PVNO, 10, (proof,), self._body(tgs_name(self._realm), self._user)).encode()

    def tgs_request(self) -> bytes:
        """A new TGS-REQ for the service."""
        body = self._body(self._service, None)
        key = self._tgt.key
        checksum = Checksum(key.checksum_type, key.checksum(KeyUsage.TGS_REQ_CHECKSUM, body.encode()))
        header = make_ap_req(
            self._tgt, datetime.now(UTC), os.urandom, usage=KeyUsage.TGS_REQ_AUTHENTICATOR, checksum=checksum
        )
        return TgsReq(PVNO, 12, (PaData(PaType.TGS_REQ, header),), body).encode()

    def _first_ticket(self) -> CachedTicket:
        reply = AsRep.decode(self.ask(self.as_request(), WANTED["AS"]))
        part = EncAsRepPart.decode(self._key.decrypt(KeyUsage.AS_REP, reply.enc_part.cipher))
        key = make_key(part.key.keytype, part.key.keyvalue)
        server, ticket = tgs_name(self._realm), reply.ticket
        return CachedTicket(self._user, server, key, ticket, part.flags, part.authtime, None, part.endtime)

    def timed(self, kind: str) -> Timed:
        """CPU seconds of the KDC for so many requests, which are made before they are sent."""
        make = self.as_request if kind == "AS" else self.tgs_request

        def measured(times: int) -> float:
            taken = 0.0
            while times > 0:
                requests = [make() for _ in range(min(times, 500))]
                times -= len(requests)
                start = self.cpu()
                for request in requests:
                    self.ask(request, WANTED[kind])
                taken += self.cpu() - start
            return taken

        return measured


def _ours() -> Asker:
    command = [sys.executable, "-m", "benchmarks.kdc_end", REALM, pairs.USER, PASSWORD, service(ETYPE)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(process.kill)
    assert process.stdout is not None
    return Asker(process.pid, int(process.stdout.readline()), REALM)


def requests(effort: Effort) -> Section:
    """The rows of a KDC."""
    askers = {OURS: _ours()}
    if (theirs := realm()) is not None:
        askers[MIT] = Asker(theirs.kdc.pid, theirs.kdc.port, theirs.kdc.realm)
    section = Section(
        "KDC: requests a second on one core",
        ("", OURS, MIT, f"× {MIT}"),
        notes=[
            (
                "By the CPU time of the KDC's process, asked over UDP by one client that waits for each reply. AS: "
                "with an encrypted timestamp; TGS: for a service. All keys are aes256-sha1. krb5kdc is C with a "
                "database in a file, where it notes each AS request's time; ours is Python with principals in memory."
            ),
        ],
    )
    for kind in WANTED:
        series = compare({name: asker.timed(kind) for name, asker in askers.items()}, effort)
        rates = {name: Series([1 / value for value in found.figures]) for name, found in series.items()}
        versus = ratio(series, MIT, OURS)
        section.rows.append(
            (kind, *(plain(rates.get(name)) for name in (OURS, MIT)), "–" if versus is None else f"{versus:.2f}")
        )
    return section
