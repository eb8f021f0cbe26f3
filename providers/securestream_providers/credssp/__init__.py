"""CredSSP ([MS-CSSP]): authentication inside TLS, bound to its key, with a credential delegated to the server."""

from __future__ import annotations

from securestream_providers.credssp.credentials import PackageCredential, RemoteGuard, SmartCard
from securestream_providers.credssp.package import CredSsp
from securestream_providers.credssp.policy import Delegation

__all__ = ["CredSsp", "Delegation", "PackageCredential", "RemoteGuard", "SmartCard"]
