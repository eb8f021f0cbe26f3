"""The security package Kerberos (RFC 4120, RFC 4121, [MS-KILE]) and an embedded KDC."""
