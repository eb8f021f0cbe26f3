"""Digest access authentication for HTTP (RFC 7616, RFC 2617, MS-DPSP) and SASL (RFC 2831)."""
