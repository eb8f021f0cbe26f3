"""The cells of the table of what tshark makes of our octets."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells

TSHARK = "tshark"

KINDS = {
    "NNS: Negotiate, Kerberos": ("ms-nns", "spnego", "kerberos"),
    "NNS: Negotiate, Kerberos, signed": ("ms-nns", "spnego", "kerberos"),
    "NNS: Negotiate, Kerberos, unprotected": ("ms-nns", "spnego", "kerberos"),
    "NNS: Negotiate, NTLM by fallback": ("ms-nns", "spnego", "ntlmssp"),
    "NNS: Negotiate, NTLM": ("ms-nns", "spnego", "ntlmssp"),
    "NNS: Negotiate, Kerberos after NTLM was refused": ("ms-nns", "spnego", "ntlmssp", "kerberos"),
    "NNS: Negotiate, the server first": ("ms-nns", "spnego", "kerberos"),
    "NNS: Negotiate, DCE style": ("ms-nns", "spnego", "kerberos"),
    "NNS: Negotiate, user to user": ("ms-nns", "spnego", "kerberos"),
    "NNS: NEGOEX, shared key": ("ms-nns", "spnego", "negoex"),
    "NNS: NEGOEX, anonymous": ("ms-nns", "spnego", "negoex"),
    "NNS: Kerberos": ("ms-nns", "gss-api", "kerberos"),
    "NNS: NTLM": ("ms-nns", "ntlmssp"),
    "NNS: NTLM, signed": ("ms-nns", "ntlmssp"),
    "NNS: refused, no mechanism": ("ms-nns", "spnego"),
    "NNS: refused, ticket": ("ms-nns", "spnego", "kerberos"),
    "NNS: refused, password": ("ms-nns", "spnego", "ntlmssp"),
    "LDAP: Negotiate, NTLM": ("ldap", "gss-api", "spnego", "ntlmssp"),
    "LDAP: Negotiate, NTLM, signed": ("ldap", "gss-api", "spnego", "ntlmssp"),
    **{f"LDAP: Negotiate, Kerberos {etype}": ("ldap", "gss-api", "kerberos") for etype in (17, 18, 19, 20, 23, 25, 26)},
    "LDAP: Negotiate, Kerberos, signed": ("ldap", "gss-api", "kerberos"),
    "LDAP: Negotiate, Kerberos, delegated": ("ldap", "gss-api", "kerberos"),
    "LDAP: Negotiate, Kerberos, one way": ("ldap", "gss-api", "kerberos"),
    "KDC: datagrams": ("kerberos",),
    "KDC: streams": ("kerberos",),
    "KDC: datagrams, password changed": ("kpasswd", "kerberos"),
    "KDC: streams, password changed": ("kpasswd", "kerberos"),
    "KDC: refusals": ("kerberos",),
    **{
        f"CredSSP: {kind}": ("tls", "credssp", "ntlmssp")
        for kind in ("NTLM", "NTLM, TLS 1.2", "NTLM, version 2", "NTLM, refused")
    },
    "CredSSP: Negotiate, NTLM": ("credssp", "spnego", "ntlmssp"),
    **{
        f"CredSSP: {kind}": ("tls", "credssp", "gss-api", "kerberos")
        for kind in ("Kerberos", "smart card", "remote guard")
    },
    "CredSSP: Negotiate, Kerberos": ("credssp", "spnego", "kerberos"),
    "X.224": ("tpkt", "cotp", "rdp"),
    "TLS 1.3": ("tls",),
    "TLS 1.2": ("tls",),
}
"""By kind of what we emit: the dissectors that must take part."""

DISSECTED: tuple[Cell, ...] = (*cells(TSHARK, "tshark", ("decoder",), KINDS),)
