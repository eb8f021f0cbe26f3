"""SASL: exchanges of SCRAM-SHA-256 and DIGEST-MD5, and what GSS-SPNEGO adds to Negotiate."""

from __future__ import annotations

import hashlib
from typing import Final

from benchmarks import pairs
from benchmarks.measure import OURS, Effort, Section, compare, cpu_loop, micro
from benchmarks.sides import Handshakes, compare_sides, ours
from securestream.ambient import system_options
from securestream.credentials import Accounts, Credential, Password
from securestream.drive import Services
from securestream.machine import HandshakeMachine
from securestream.options import Options, Protection
from securestream.provider import TargetName
from securestream.sasl import GssSpnego, SaslMechanism, ScramSha256
from securestream.services.verifiers import SCRAM_ITERATIONS
from securestream_providers.digest.sasl import DigestMd5
from securestream_providers.negotiate import Negotiate

_TARGET: Final = TargetName(f"ldap/{pairs.HOST}")
_ROUNDS: Final = SCRAM_ITERATIONS
"""PBKDF2's of SCRAM, as our stores have them."""
_SALTING: Final = f"PBKDF2 of {_ROUNDS} rounds alone"


def _of(mechanism: SaslMechanism, accounts: Credential, options: Options) -> Handshakes:
    """Exchanges of `mechanism`, both ends ours."""
    password, services = Password(pairs.USER, pairs.PASSWORD), Services()
    return ours(
        lambda: HandshakeMachine(mechanism.initiate(password, _TARGET, options)),
        lambda: HandshakeMachine(mechanism.accept(accounts, options)),
        services,
    )


def _salt() -> bytes:
    """What a client of SCRAM cannot do without, once for each exchange."""
    return hashlib.pbkdf2_hmac("sha256", pairs.PASSWORD.encode(), bytes(16), _ROUNDS)


def handshakes(effort: Effort) -> Section:
    """The rows of SASL exchanges."""
    accounts: Credential = Accounts.memory(**{pairs.USER: pairs.PASSWORD})
    none, sealed = system_options(protection=Protection.NONE), system_options()
    digest = DigestMd5(services=[str(_TARGET)], realms=[pairs.HOST])
    contenders = {
        "SCRAM-SHA-256": _of(ScramSha256(), accounts, none),
        "DIGEST-MD5, auth-conf": _of(digest, accounts, sealed),
        "GSS-SPNEGO with NTLM": _of(GssSpnego(Negotiate(pairs.ntlm_package())), accounts, sealed),
    }
    series, sides = compare_sides(contenders, effort)
    section = Section(
        f"SASL: exchanges of {OURS}, CPU µs",
        ("", "client", "server", "both"),
        notes=[
            "A client of SCRAM computes PBKDF2 of its password in each exchange; a server keeps what comes of it.",
            "DIGEST-MD5 is weak and historic, and here for who has to speak it.",
        ],
    )
    alone = compare({_SALTING: cpu_loop(_salt)}, effort)[_SALTING]
    section.rows.append((_SALTING, micro(alone), "–", "–"))
    section.rows += [(name, *(micro(half) for half in sides[name]), micro(series[name])) for name in series]
    return section
