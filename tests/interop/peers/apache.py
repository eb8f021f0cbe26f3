"""A private Apache with mod_auth_gssapi and mod_auth_digest on free ports of 127.0.0.1, in clear and under TLS."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.interop.peers.accounts import DOMAIN
from tests.interop.peers.places import APACHE_PACKAGES
from tests.interop.peers.web_server import BODY, REALM, WebServer
from tests.ports import free_port

__all__ = ["BODY", "MODULES", "NAME", "REALM", "SERVER", "Apache", "missing", "version"]

NAME: Final = "Apache"
MODULES: Final = Path("/usr/lib/apache2/modules")
SERVER: Final = "/usr/sbin/apache2"
_NEEDED: Final = (
    *("mpm_event", "unixd", "authn_core", "authn_file", "authz_core", "authz_user", "auth_gssapi", "auth_digest"),
    *("headers", "alias", "rewrite", "ssl"),
    *("proxy", "proxy_connect"),
)

_CONFIGURATION: Final = """\
ServerRoot "{folder}"
ServerName localhost
DefaultRuntimeDir "{folder}"
PidFile "{folder}/pid"
ErrorLog "{folder}/errors"
LogLevel auth_gssapi:debug auth_digest:debug
{modules}
User www-data
Group www-data
Listen 127.0.0.1:{port}
{tls}
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
KeepAlive On
DocumentRoot "{folder}/files"
Listen 127.0.0.1:{other_port}
{shown}
AliasMatch "^/[a-z-]+/" "{folder}/files/index"
AuthDigestShmemSize 64K
<Directory "{folder}/files">
    Require all granted
</Directory>
<LocationMatch "^/digest">
    AuthType Digest
    AuthName "{realm}"
    AuthDigestProvider file
    AuthUserFile "{folder}/htdigest"
    AuthDigestNcCheck On
    Require valid-user
</LocationMatch>
<Location "/digest-short">
    AuthDigestNonceLifetime 3
</Location>
<Location "/digest-forged">
    Header edit Authentication-Info 'rspauth="[0-9a-f]{{8}}' 'rspauth="00000000'
</Location>
<Location "/digest-stripped">
    Header unset Authentication-Info
</Location>
<Location "/digest-away">
    RewriteEngine On
    RewriteRule ".*" "http://localhost:{other_port}/digest/" [R=307,L]
</Location>
RedirectMatch 307 "^/away-digest" "http://localhost:{other_port}/digest/"
RedirectMatch 307 "^/away-gssapi" "http://localhost:{other_port}/gssapi/"
RedirectMatch 307 "^/away-ntlm" "http://localhost:{other_port}/ntlm/"
RedirectMatch 307 "^/away-tls" "https://localhost:{tls_port}/gssapi/"
RedirectMatch 307 "^/there" "http://localhost:{other_port}/back"
RedirectMatch 307 "^/back" "http://localhost:{port}/digest/"
{gssapi}
"""
_SHOWN: Final = """\
Header always set X-User "expr=%{REMOTE_USER}"
Header always set X-Authorization "expr=%{HTTP:Authorization}"
"""
_GSSAPI: Final = """\
<LocationMatch "^/(gssapi|ntlm)">
    AuthType GSSAPI
    AuthName "{realm}"
    GssapiCredStore keytab:{folder}/keytab
    GssapiNegotiateOnce Off
    GssapiAllowedMech krb5
    Require valid-user
</LocationMatch>
<LocationMatch "^/ntlm">
    GssapiConnectionBound On
    GssapiAllowedMech ntlmssp
</LocationMatch>
<Location "/gssapi-stripped">
    Header always unset WWW-Authenticate "expr=%{{REQUEST_STATUS}} == 200"
</Location>
<Location "/gssapi-away">
    RewriteEngine On
    RewriteRule ".*" "http://localhost:{other_port}/gssapi/" [R=307,L]
</Location>
"""
_PROXY: Final = """\
Listen 127.0.0.1:{proxy_port}
<VirtualHost 127.0.0.1:{proxy_port}>
    ProxyRequests On
    AllowCONNECT {port} {tls_port}
    <Proxy "*">
        AuthName "{realm}"
        Require valid-user
        {how}
    </Proxy>
</VirtualHost>
"""
_PROXY_DIGEST: Final = """\
        AuthType Digest
        AuthDigestProvider file
        AuthUserFile "{folder}/htdigest"
"""
_PROXY_GSSAPI: Final = """\
        AuthType GSSAPI
        GssapiCredStore keytab:{folder}/keytab
        GssapiAllowedMech krb5
"""
_PROXY_NTLM: Final = """\
        AuthType GSSAPI
        GssapiAllowedMech ntlmssp
        GssapiConnectionBound On
"""
_TLS: Final = """\
Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
    SSLEngine on
    SSLCertificateFile "{folder}/certificate"
    SSLCertificateKeyFile "{folder}/key"
    {shown}
</VirtualHost>
"""


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    lacking = [name for name in _NEEDED if name != "unixd" and not _is_there(name)]
    return f"apt-get install {' '.join(APACHE_PACKAGES)}" if lacking or not os.path.exists(SERVER) else None


def version() -> str:
    """Of the server."""
    said = subprocess.run([SERVER, "-v"], capture_output=True, text=True, check=True).stdout
    return said.partition("Apache/")[2].split()[0]


def _is_there(module: str) -> bool:
    return (MODULES / f"mod_{module}.so").exists()


class Apache(WebServer):
    """A running server on two clear ports, which clients take for two servers, and one of TLS.

    ``/digest/``, ``/gssapi/`` and ``/ntlm/`` demand a user and answer with `BODY`; X-User and X-Authorization say whom
    they saw, and what was sent. Names with a suffix: ``-short`` (nonces are good for a second), ``-forged`` and
    ``-stripped`` (the server's proof), ``-away`` (once authenticated, redirected to the other port). ``/away-digest``
    and ``/away-gssapi`` redirect there at once, ``/away-tls`` to the port of TLS, ``/back`` to this one.
    `proxies` are ports of proxies that want a user for CONNECT to this server's ports. NTLM stands without a
    GssapiCredStore, here and under ``/ntlm/``: of one that names a keytab alone, gss-ntlmssp 1.2.0 makes a credential
    that is "not a server credential type", and within Negotiate it ends Apache's process, with curl as with us.

    Args:
        users: names and passwords for Digest, which this server does with MD5 alone, and for NTLM.
        keytab: a keytab for Negotiate, or `None` for none.
        krb5_config: the krb5.conf of the realm.
        certificate: PEM of a certificate and of its key, for a port under TLS.
    """

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        keytab: Path | None = None,
        krb5_config: Path | None = None,
        certificate: tuple[bytes, bytes] | None = None,
    ) -> None:
        super().__init__()
        self.other_port = free_port()
        self.tls_port = free_port() if certificate else 0
        self.proxies = {name: free_port() for name in ("digest", "gssapi", "ntlm")}
        folder = self._folder
        folder.chmod(0o755)  # its worker is another user
        (folder / "files").mkdir()
        (folder / "files" / "index").write_bytes(BODY)
        lines = (
            f"{user}:{REALM}:{hashlib.md5(f'{user}:{REALM}:{password}'.encode()).hexdigest()}\n"
            for user, password in users.items()
        )
        (folder / "htdigest").write_text("".join(lines), encoding="utf-8")
        (folder / "ntlm").write_text("".join(f"{DOMAIN}:{user}:{password}\n" for user, password in users.items()))
        if keytab is not None:
            shutil.copy(keytab, folder / "keytab")
            (folder / "keytab").chmod(0o644)
        if krb5_config is not None:
            shutil.copy(krb5_config, folder / "krb5.conf")
            (folder / "krb5.conf").chmod(0o644)
        if certificate is not None:
            (folder / "certificate").write_bytes(certificate[0])
            (folder / "key").write_bytes(certificate[1])
        self._write(with_gssapi=keytab is not None)

    def _write(self, *, with_gssapi: bool) -> None:
        names = {
            "folder": self._folder,
            "realm": REALM,
            "port": self.port,
            "other_port": self.other_port,
            "tls_port": self.tls_port,
        }
        modules = "\n".join(
            f'LoadModule {name}_module "{MODULES}/mod_{name}.so"' for name in _NEEDED if _is_there(name)
        )
        text = _CONFIGURATION.format(
            **names,
            modules=modules,
            shown=_SHOWN,
            tls=_TLS.format(folder=self._folder, port=self.tls_port, shown=_SHOWN) if self.tls_port else "",
            gssapi=_GSSAPI.format(**names) if with_gssapi else "",
        )
        ways = {"digest": _PROXY_DIGEST.format(**names)}
        if with_gssapi:
            ways |= {"gssapi": _PROXY_GSSAPI.format(**names), "ntlm": _PROXY_NTLM}
        text += "".join(
            _PROXY.format(**names, proxy_port=self.proxies[name], how=how.strip()) for name, how in ways.items()
        )
        (self._folder / "apache.conf").write_text(text, encoding="utf-8")

    def _command(self) -> Sequence[str]:
        return [SERVER, "-D", "FOREGROUND", "-f", str(self._folder / "apache.conf")]

    def _environment(self) -> Mapping[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            "KRB5_CONFIG": str(self._folder / "krb5.conf"),
            "KRB5RCACHENAME": "none:",
            "NTLM_USER_FILE": str(self._folder / "ntlm"),
            "LM_COMPAT_LEVEL": "5",
        }
