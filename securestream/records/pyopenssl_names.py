"""The server's name within OpenSSL's own verification, so that a server with another name is told the right alert.

pyOpenSSL has no call for it, and its verification callback can only say no: the server would read internal_error. The
verdict does not rest on this: `pyopenssl.verify_peer` looks at the name in any case.
"""

from __future__ import annotations

from ipaddress import ip_address

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from securestream.records import names


def verify_within_openssl(connection: SSL.Connection, host: str) -> bool:
    """Have OpenSSL compare the certificate's names with `host`, a name in A-labels or an address, as `ssl` does.

    Returns:
        Whether it will; a release of pyOpenSSL or cryptography without these internals goes without.
    """
    try:
        library = Binding().lib
        parameters = library.SSL_get0_param(getattr(connection, "_ssl"))  # noqa: B009  # private: there is no other way
        library.X509_VERIFY_PARAM_set_hostflags(
            parameters, library.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | library.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
        )
        if names.ip_address(host) is None:
            name = host.encode("ascii")
            return bool(library.X509_VERIFY_PARAM_set1_host(parameters, name, len(name)))
        octets = ip_address(host).packed
        return bool(library.X509_VERIFY_PARAM_set1_ip(parameters, octets, len(octets)))
    except (AttributeError, TypeError):
        return False
