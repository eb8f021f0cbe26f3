"""Every cell of the interoperability tables that a complete run fills; one module a table states its own."""

from __future__ import annotations

from tests.interop.expected_credssp import CREDSSP_CELLS
from tests.interop.expected_http import HTTP_CELLS
from tests.interop.expected_kerberos import KERBEROS
from tests.interop.expected_negoex import NEGOEX_CELLS
from tests.interop.expected_negotiate_dotnet import NEGOTIATE_DOTNET
from tests.interop.expected_negotiate_samba import NEGOTIATE_SAMBA
from tests.interop.expected_ntlm import NTLM
from tests.interop.expected_sasl_cyrus import SASL_CYRUS
from tests.interop.expected_sasl_mit import SASL_MIT
from tests.interop.expected_sasl_openldap import SASL_OPENLDAP
from tests.interop.expected_spnego import TOKENS
from tests.interop.expected_tls import TLS
from tests.interop.expected_tshark import DISSECTED
from tests.interop.matrix import Cell

EXPECTED: frozenset[Cell] = frozenset(
    (
        *CREDSSP_CELLS,
        *HTTP_CELLS,
        *KERBEROS,
        *NEGOTIATE_DOTNET,
        *NEGOEX_CELLS,
        *NEGOTIATE_SAMBA,
        *NTLM,
        *SASL_CYRUS,
        *SASL_MIT,
        *SASL_OPENLDAP,
        *TOKENS,
        *TLS,
        *DISSECTED,
    )
)
