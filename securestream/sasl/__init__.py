"""SASL (RFC 4422): mechanisms as security packages, the choice among them, the exchange, and security layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securestream._lazy import lazy_names

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

if not TYPE_CHECKING:  # checkers see the names above alone, and report others
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
