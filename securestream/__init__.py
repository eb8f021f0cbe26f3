"""securestream: the Windows security architecture (SSPI) in Python. The public names, each loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securestream._lazy import lazy_names

if TYPE_CHECKING:
    from securestream.ambient import system_options as system_options
    from securestream.blocking import SecureSocket as SecureSocket
    from securestream.carrier import CarrierHandshake as CarrierHandshake
    from securestream.channel_bindings import ChannelBindings as ChannelBindings
    from securestream.credentials import Accounts as Accounts
    from securestream.credentials import Anonymous as Anonymous
    from securestream.credentials import Certificate as Certificate
    from securestream.credentials import Credential as Credential
    from securestream.credentials import CredentialCache as CredentialCache
    from securestream.credentials import Credentials as Credentials
    from securestream.credentials import Keytab as Keytab
    from securestream.credentials import NtHash as NtHash
    from securestream.credentials import Password as Password
    from securestream.drive import Services as Services
    from securestream.drive import respond as respond
    from securestream.drive import respond_blocking as respond_blocking
    from securestream.errors import BadBindings as BadBindings
    from securestream.errors import BadSignature as BadSignature
    from securestream.errors import CertificateRejected as CertificateRejected
    from securestream.errors import ContextError as ContextError
    from securestream.errors import ContextExpired as ContextExpired
    from securestream.errors import Downgrade as Downgrade
    from securestream.errors import ErrorKind as ErrorKind
    from securestream.errors import FramingError as FramingError
    from securestream.errors import HandshakeError as HandshakeError
    from securestream.errors import HandshakeTimeout as HandshakeTimeout
    from securestream.errors import InvalidToken as InvalidToken
    from securestream.errors import LimitExceeded as LimitExceeded
    from securestream.errors import LogonDenied as LogonDenied
    from securestream.errors import MissingService as MissingService
    from securestream.errors import NoAuthority as NoAuthority
    from securestream.errors import NoAuthorityKnown as NoAuthorityKnown
    from securestream.errors import NoCommonMechanism as NoCommonMechanism
    from securestream.errors import NoCredentials as NoCredentials
    from securestream.errors import NotAuthorized as NotAuthorized
    from securestream.errors import NotEncrypted as NotEncrypted
    from securestream.errors import OutOfSequence as OutOfSequence
    from securestream.errors import PeerGone as PeerGone
    from securestream.errors import PeerRefused as PeerRefused
    from securestream.errors import QualityNotMet as QualityNotMet
    from securestream.errors import Replay as Replay
    from securestream.errors import SecureStreamError as SecureStreamError
    from securestream.errors import ServiceFailed as ServiceFailed
    from securestream.errors import TargetUnknown as TargetUnknown
    from securestream.errors import TimeSkew as TimeSkew
    from securestream.errors import Truncated as Truncated
    from securestream.errors import Unsupported as Unsupported
    from securestream.errors import UsageError as UsageError
    from securestream.extensions import Composed as Composed
    from securestream.extensions import ContextImporter as ContextImporter
    from securestream.extensions import Discouraged as Discouraged
    from securestream.extensions import Negotiating as Negotiating
    from securestream.extensions import TokenDescriber as TokenDescriber
    from securestream.extensions import TokenInspector as TokenInspector
    from securestream.machine import HandshakeMachine as HandshakeMachine
    from securestream.machine import Step as Step
    from securestream.negotiation import Consideration as Consideration
    from securestream.negotiation import Negotiation as Negotiation
    from securestream.negotiation import Verdict as Verdict
    from securestream.options import BindingPolicy as BindingPolicy
    from securestream.options import ContextFlags as ContextFlags
    from securestream.options import ImpersonationLevel as ImpersonationLevel
    from securestream.options import Limits as Limits
    from securestream.options import Options as Options
    from securestream.options import Protection as Protection
    from securestream.options import Role as Role
    from securestream.principal import NameType as NameType
    from securestream.principal import Principal as Principal
    from securestream.provider import Capability as Capability
    from securestream.provider import Established as Established
    from securestream.provider import PackageInfo as PackageInfo
    from securestream.provider import SecurityContext as SecurityContext
    from securestream.provider import SecurityPackage as SecurityPackage
    from securestream.provider import TargetName as TargetName
    from securestream.redaction import Secret as Secret
    from securestream.registry import Registry as Registry
    from securestream.streams._wrap import SecureStream as SecureStream
    from securestream.streams.attributes import SecurityAttribute as SecurityAttribute
    from securestream.streams.connect import SecureConnectable as SecureConnectable
    from securestream.streams.connect import connect as connect
    from securestream.streams.connect import listen as listen
    from securestream.streams.credssp import CredSspStream as CredSspStream
    from securestream.streams.listeners import SecureListener as SecureListener
    from securestream.streams.negotiate import NegotiateStream as NegotiateStream
    from securestream.streams.sasl import SaslStream as SaslStream
    from securestream.streams.tls import TlsStream as TlsStream

_NAMES = {
    "ambient": "system_options",
    "blocking": "SecureSocket",
    "carrier": "CarrierHandshake",
    "channel_bindings": "ChannelBindings",
    "credentials": "Accounts Anonymous Certificate Credential CredentialCache Credentials Keytab NtHash Password",
    "drive": "Services respond respond_blocking",
    "errors": (
        "BadBindings BadSignature CertificateRejected ContextError ContextExpired Downgrade ErrorKind FramingError "
        "HandshakeError HandshakeTimeout InvalidToken LimitExceeded LogonDenied MissingService NoAuthority "
        "NoAuthorityKnown NoCommonMechanism NoCredentials NotAuthorized NotEncrypted OutOfSequence PeerGone "
        "PeerRefused QualityNotMet Replay SecureStreamError ServiceFailed TargetUnknown TimeSkew Truncated Unsupported "
        "UsageError"
    ),
    "extensions": "Composed ContextImporter Discouraged Negotiating TokenDescriber TokenInspector",
    "machine": "HandshakeMachine Step",
    "negotiation": "Consideration Negotiation Verdict",
    "options": "BindingPolicy ContextFlags ImpersonationLevel Limits Options Protection Role",
    "principal": "NameType Principal",
    "provider": "Capability Established PackageInfo SecurityContext SecurityPackage TargetName",
    "redaction": "Secret",
    "registry": "Registry",
    "streams._wrap": "SecureStream",
    "streams.attributes": "SecurityAttribute",
    "streams.connect": "SecureConnectable connect listen",
    "streams.credssp": "CredSspStream",
    "streams.listeners": "SecureListener",
    "streams.negotiate": "NegotiateStream",
    "streams.sasl": "SaslStream",
    "streams.tls": "TlsStream",
}

if not TYPE_CHECKING:  # checkers see the names above alone, and report others
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
