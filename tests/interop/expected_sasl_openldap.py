"""The cells of SASL's table with OpenLDAP's server."""

from __future__ import annotations

from tests.interop.expected_sasl_mit import SASL
from tests.interop.matrix import Cell, cells

OPENLDAP = "OpenLDAP"
MECHANISMS = ("GSSAPI", "GSS-SPNEGO")

SASL_OPENLDAP: tuple[Cell, ...] = tuple(
    cells(
        SASL,
        OPENLDAP,
        ("server",),
        (
            *(f"LDAP sealed, {mechanism}" for mechanism in MECHANISMS),
            "LDAP signed, GSS-SPNEGO",
            "LDAP without a layer, GSSAPI, refused",
            "LDAP, ticket for another service",
        ),
    )
)
