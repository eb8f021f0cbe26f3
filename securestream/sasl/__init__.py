"""SASL (RFC 4422): mechanisms as security packages, the choice among them, the exchange, and security layers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securestream.sasl.choice import choose as choose
    from securestream.sasl.choice import find_mechanism as find_mechanism
    from securestream.sasl.choice import mechanisms as mechanisms
    from securestream.sasl.choice import offered as offered
    from securestream.sasl.exchange import Answer as Answer
    from securestream.sasl.exchange import SaslClient as SaslClient
    from securestream.sasl.exchange import SaslServer as SaslServer
    from securestream.sasl.external import External as External
    from securestream.sasl.gs2_krb5 import Gs2Krb5 as Gs2Krb5
    from securestream.sasl.gss_layer import GssLayer as GssLayer
    from securestream.sasl.gss_spnego import GssSpnego as GssSpnego
    from securestream.sasl.gssapi import Gssapi as Gssapi
    from securestream.sasl.mechanism import NoLayer as NoLayer
    from securestream.sasl.mechanism import SaslLayer as SaslLayer
    from securestream.sasl.mechanism import SaslMechanism as SaslMechanism
    from securestream.sasl.scram import ScramSha256 as ScramSha256

_NAMES = {
    "choice": "choose find_mechanism mechanisms offered",
    "exchange": "Answer SaslClient SaslServer",
    "external": "External",
    "gs2_krb5": "Gs2Krb5",
    "gss_layer": "GssLayer",
    "gss_spnego": "GssSpnego",
    "gssapi": "Gssapi",
    "mechanism": "NoLayer SaslLayer SaslMechanism",
    "scram": "ScramSha256",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
