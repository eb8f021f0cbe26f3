"""One of several acceptors of one service that share a replay cache: answers each token on standard input.

``python -m tests.interop.replay_worker REALM KEYTAB CACHE``; tokens are hexadecimal lines.
"""

from __future__ import annotations

import sys

from securestream.ambient import system_options
from securestream.credentials import Keytab
from securestream.drive import Services, respond_blocking
from securestream.errors import HandshakeError
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags
from securestream.provider import FirstUse
from securestream.services.replay import SqliteReplay
from securestream_providers.kerberos import Kerberos
from securestream_providers.krb5.config import Krb5Config


def main(realm: str, keytab: str, cache: str) -> None:
    """Serve until standard input ends."""
    services = Services()
    services.register_performer(FirstUse, SqliteReplay(cache))
    package, credential = Kerberos(config=Krb5Config(default_realm=realm)), Keytab(keytab)
    options = system_options(flags=ContextFlags.NONE)
    print("ready", flush=True)
    for line in sys.stdin:
        machine = HandshakeMachine(package.accept(credential, options))
        try:
            respond_blocking(machine, bytes.fromhex(line), services)
        except HandshakeError as error:
            print(type(error).__name__, flush=True)
        else:
            print("accepted", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
