"""NTLM ([MS-NLMP]), both roles: the package `Ntlm` and what is particular to it."""

from securestream_providers.ntlm.context import NtlmContext
from securestream_providers.ntlm.logon import LogonResult, NtlmLogon, ResponseKind
from securestream_providers.ntlm.package import Ntlm, ServerNames

__all__ = ["LogonResult", "Ntlm", "NtlmContext", "NtlmLogon", "ResponseKind", "ServerNames"]
