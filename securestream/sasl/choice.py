"""The mechanisms that there are, by name, and the choice among those that a server offers.

What is strongest comes first: what proves the server and binds to the channel, before what binds to nothing. Where a
server offers the -PLUS form of a mechanism and this end has bindings, the plain form is not used (RFC 5802 6).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import Final

from securestream.credentials import Credential
from securestream.errors import NoCommonMechanism, UsageError
from securestream.negotiation import Consideration, Negotiation, Verdict
from securestream.options import BindingPolicy, Options, Protection, Role
from securestream.provider import Capability, SecurityPackage
from securestream.registry import Registry
from securestream.sasl.external import NAME as EXTERNAL
from securestream.sasl.external import External
from securestream.sasl.gs2 import PLUS, offers_plus
from securestream.sasl.gs2_krb5 import NAME as GS2_KRB5
from securestream.sasl.gs2_krb5 import Gs2Krb5
from securestream.sasl.gss_spnego import NAME as GSS_SPNEGO
from securestream.sasl.gss_spnego import GssSpnego
from securestream.sasl.gssapi import NAME as GSSAPI
from securestream.sasl.gssapi import Gssapi
from securestream.sasl.mechanism import SaslMechanism
from securestream.sasl.scram import NAME as SCRAM
from securestream.sasl.scram import ScramSha256

ENTRY_POINTS: Final = "securestream.sasl"
"""The entry point group of further mechanisms. Each entry is named as the mechanism and is a callable that makes one.
They are used where they are asked for by name, and never stand in `mechanisms`."""

ORDER: Final = (EXTERNAL, GS2_KRB5 + PLUS, GSSAPI, GSS_SPNEGO, SCRAM + PLUS, GS2_KRB5, SCRAM)
"""Strongest first. What is not here comes after these, in the order in which it is given."""

_NAME: Final = re.compile(r"[A-Z0-9_-]{1,20}", re.ASCII)
"""A mechanism's name (RFC 4422 3.1)."""

_UNUSED: Final = "the server offers it, and it is none of those that may be used here"

Factory = Callable[[], SaslMechanism]


def mechanisms(registry: Registry | None = None) -> Mapping[str, Factory]:
    """The mechanisms that are on by default, strongest first, each with what makes one. None of them is weak.

    Args:
        registry: where Kerberos and Negotiate are found; `None`: among what is installed. Mechanisms over a package
            that is not there are left out.
    """
    packages = Registry.installed() if registry is None else registry
    found: dict[str, Factory] = {
        EXTERNAL: External,
        SCRAM + PLUS: partial(ScramSha256, plus=True),
        SCRAM: ScramSha256,
    }
    if "kerberos" in packages:
        found[GSSAPI] = lambda: Gssapi(_package(packages, "kerberos"))
        found[GS2_KRB5 + PLUS] = lambda: Gs2Krb5(_package(packages, "kerberos"), plus=True)
        found[GS2_KRB5] = lambda: Gs2Krb5(_package(packages, "kerberos"))
    if "negotiate" in packages:
        found[GSS_SPNEGO] = lambda: GssSpnego(_package(packages, "negotiate"))
    return {name: found[name] for name in ORDER if name in found}


def _package(packages: Registry, name: str) -> SecurityPackage:
    return packages[name]


def find_mechanism(name: str, registry: Registry | None = None) -> SaslMechanism:
    """The mechanism of that name, in any case: one of `mechanisms`, or one that an installed distribution announces in
    the group `ENTRY_POINTS`, where weak and historic ones are, too.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    wanted, known = name.upper(), mechanisms(registry)
    if wanted in known:
        return known[wanted]()
    points = {point.name.upper(): point for point in entry_points(group=ENTRY_POINTS)}
    point = points.get(wanted)
    if point is None:
        raise UsageError(f"no SASL mechanism is called {name!r}; there are: {', '.join((*known, *points))}")
    try:
        made: SaslMechanism = point.load()()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the SASL mechanism {point.name} ({point.value}) cannot be loaded: {error}") from error
    return made


def offered(
    known: Iterable[SaslMechanism], credential: Credential | None, options: Options
) -> tuple[SaslMechanism, ...]:
    """Those of a server's mechanisms that it should offer, strongest first.

    Args:
        known: the server's.
        credential: with what it verifies.
        options: what is asked: without channel bindings no -PLUS is offered, where they are demanded nothing else.
    """
    served = _sorted(known)
    return tuple(one for one in served if not _reason_not_to_offer(one, served, credential, options))


def choose(
    names: Iterable[str],
    credential: Credential | None,
    options: Options,
    known: Iterable[SaslMechanism] | None = None,
) -> SaslMechanism:
    """The strongest mechanism that a server offers and this client can use.

    Args:
        names: what the server offers, in any case and order.
        credential: as whom.
        options: what is asked: a mechanism without a layer is passed over unless `Options.protection` is NONE, as it
            should be inside TLS; -PLUS is used where the server offers it and there are channel bindings.
        known: the mechanisms to choose from; `None`: all of `mechanisms`.

    Raises:
        NoCommonMechanism: none is left; the message says why for each.
        UsageError: `names` is one text; split it.
    """
    if isinstance(names, str):
        raise UsageError(
            "the server's mechanisms are a sequence of names, not one text: split it, as its protocol says"
        )
    at_server = {name.upper() for name in names}
    candidates = _sorted([make() for make in mechanisms().values()] if known is None else known)
    considered: list[Consideration] = []
    for one in candidates:
        reason = _reason_against(one, at_server, credential, options)
        if not reason:
            return one
        considered.append(Consideration(one.info.name, one.info.name, Verdict.PASSED_OVER, reason))
    unused = sorted(at_server.difference(one.info.name for one in candidates))
    considered += [Consideration(name, name, Verdict.PASSED_OVER, _UNUSED) for name in unused if _NAME.fullmatch(name)]
    raise NoCommonMechanism(
        "no SASL mechanism is left: " + "; ".join(str(one) for one in considered),
        negotiation=Negotiation(Role.INITIATOR, tuple(considered), tuple(sorted(at_server))),
    )


def _sorted(known: Iterable[SaslMechanism]) -> list[SaslMechanism]:
    return sorted(known, key=lambda one: ORDER.index(one.info.name) if one.info.name in ORDER else len(ORDER))


def _reason_against(one: SaslMechanism, at_server: set[str], credential: Credential | None, options: Options) -> str:
    name = one.info.name
    if name not in at_server:
        return "the server does not offer it"
    bound = options.channel_bindings is not None
    if name.endswith(PLUS) and not bound:
        return "there is no TLS channel to bind to"
    if bound and name + PLUS in at_server:
        return f"the server offers {name}{PLUS}, which must then be used"
    return _reason_in_general(one, Role.INITIATOR, credential, options)


def _reason_not_to_offer(
    one: SaslMechanism, served: list[SaslMechanism], credential: Credential | None, options: Options
) -> str:
    name = one.info.name
    if name.endswith(PLUS) and not offers_plus(options):
        return "there is no TLS channel to bind to"
    has_plus = any(other.info.name == name + PLUS for other in served)
    if has_plus and offers_plus(options) and options.binding_policy is BindingPolicy.ALWAYS:
        return "channel bindings are demanded"
    return _reason_in_general(one, Role.ACCEPTOR, credential, options)


def _reason_in_general(one: SaslMechanism, role: Role, credential: Credential | None, options: Options) -> str:
    info = one.info
    if role not in info.roles:
        return f"it plays no {role.value}"
    if options.protection is not Protection.NONE and not info.capabilities & _LAYERS[options.protection]:
        return f"it has no security layer that gives {options.protection.name}"
    unusable = one.usable(credential, role)
    return "" if unusable is None else unusable.reason


_LAYERS: Final = {
    Protection.SIGN: Capability.INTEGRITY,
    Protection.ENCRYPT_AND_SIGN: Capability.PRIVACY,
}
