"""Where the foreign implementations live, and which versions of them are wanted."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PEERS = Path(os.environ.get("SECURESTREAM_PEERS", ROOT / ".peers"))
"""One folder for every environment of a checkout: the installation is shared by the interpreters."""

SYSTEM_PYTHON = Path("/usr/bin/python3")
"""Debian's own interpreter: its python3-gssapi is compiled for no other."""

DEBIAN_PACKAGES = ("gss-ntlmssp", "python3-gssapi", "libgssapi-krb5-2", "libssl3", "openssl", "gnutls-bin", "curl")
MIT_PACKAGES = ("krb5-kdc", "krb5-admin-server", "krb5-user")
SAMBA_PACKAGES = (
    *("samba", "samba-ad-dc", "samba-ad-provision", "samba-dsdb-modules", "samba-vfs-modules", "python3-samba"),
    *("winbind", "krb5-user", "iproute2", "mount", "util-linux", "hostname"),
)
TSHARK_PACKAGES = ("tshark",)
APACHE_PACKAGES = ("apache2", "libapache2-mod-auth-gssapi")
CYRUS_PACKAGES = ("libsasl2-2", "libsasl2-modules", "libsasl2-modules-db", "libsasl2-modules-gssapi-mit", "sasl2-bin")
LIGHTTPD_PACKAGES = ("lighttpd",)
OPENLDAP_PACKAGES = ("slapd", "libsasl2-modules-gssapi-mit")
FREERDP_PACKAGES = ("freerdp2-x11", "freerdp2-shadow-x11", "winpr-utils", "xvfb", "xauth")

DOTNET_VERSION = "8.0.15"
DOTNET = PEERS / "dotnet"
DOTNET_ROOT = DOTNET / "root"
DOTNET_HOST = DOTNET_ROOT / "dotnet"
DOTNET_COMPILER = DOTNET / "roslyn"
DOTNET_REFERENCES = DOTNET / "references"
DOTNET_SOURCE = Path(__file__).with_name("dotnet_peer.cs")
DOTNET_PROGRAM = DOTNET / "dotnet_peer.dll"
DOTNET_RUNTIME_CONFIG = DOTNET / "dotnet_peer.runtimeconfig.json"

NEGOEX = PEERS / "negoex"
NEGOEX_PACKAGES = ("gcc", "libc6-dev", "libkrb5-dev", "dpkg-dev", "python3-gssapi")
