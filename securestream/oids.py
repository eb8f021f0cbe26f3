"""Names of the object identifiers that stand in tokens, for readers."""

from __future__ import annotations

from typing import Final

OID_NAMES: Final = {
    "1.2.840.113554.1.2.2": "Kerberos",
    "1.2.840.113554.1.2.2.3": "Kerberos user-to-user",
    "1.2.840.48018.1.2.2": "MS-Kerberos",
    "1.3.5.1.5.2": "old Kerberos",
    "1.3.6.1.5.2.5": "IAKERB",
    "1.3.6.1.5.2.7": "PKU2U",
    "1.3.6.1.5.5.2": "SPNEGO",
    "1.3.6.1.4.1.311.2.2.10": "NTLM",
    "1.3.6.1.4.1.311.2.2.30": "NEGOEX",
    "1.3.6.1.5.2.3.1": "id-pkinit-authData",
    "1.3.6.1.5.2.3.2": "id-pkinit-DHKeyData",
    "1.3.6.1.5.2.3.3": "id-pkinit-rkeyData",
    "1.3.6.1.5.2.3.4": "id-pkinit-KPClientAuth",
    "1.3.6.1.5.2.3.5": "id-pkinit-KPKdc",
    "1.2.840.113549.1.7.1": "id-data",
    "1.2.840.113549.1.7.2": "id-signedData",
    "1.2.840.113549.1.7.3": "id-envelopedData",
    "1.2.840.113549.1.9.3": "contentType",
    "1.2.840.113549.1.9.4": "messageDigest",
    "1.2.840.113549.1.1.1": "rsaEncryption",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.10045.2.1": "id-ecPublicKey",
    "1.2.840.10045.3.1.7": "P-256",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10046.2.1": "dhpublicnumber",
    "1.3.14.3.2.26": "SHA-1",
    "2.16.840.1.101.3.4.2.1": "SHA-256",
    "2.16.840.1.101.3.4.2.2": "SHA-384",
    "2.16.840.1.101.3.4.2.3": "SHA-512",
    "2.5.4.3": "commonName",
    "2.5.4.6": "countryName",
    "2.5.4.10": "organizationName",
    "2.5.4.11": "organizationalUnitName",
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.37": "extKeyUsage",
}
"""By the dotted form."""
