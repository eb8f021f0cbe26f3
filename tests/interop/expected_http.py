"""The cells of the HTTP table."""

from __future__ import annotations

from tests.interop.matrix import Cell, cells

HTTP = "HTTP"

COMMON = ("MD5", "MD5-sess", "SHA-256", "SHA-256-sess")
"""Algorithms of Digest that the usual clients compute."""
UNCOMMON = ("SHA-512-256", "SHA-512-256-sess")

REDIRECTS = (
    "Digest, redirect before",
    "Digest, redirect after",
    "Negotiate, redirect before",
    "Negotiate, redirect after",
    "Negotiate, redirect to TLS",
    "NTLM, redirect before",
    "redirect there and back",
)

_CURL = (
    "Negotiate, Kerberos",
    "Negotiate, Kerberos https",
    "Negotiate, Kerberos https, unbound refused",
    "Negotiate, no ticket",
    "NTLM",
    "NTLM https",
    "NTLM https, unbound refused",
    "NTLM, wrong password",
    "the strongest of all",
    *(f"{scheme} to a proxy" for scheme in ("negotiate", "ntlm", "digest")),
    *(f"Digest {algorithm}" for algorithm in COMMON),
    *(f"Digest {algorithm} auth-int" for algorithm in COMMON),
    *(f"Digest {algorithm} userhash" for algorithm in COMMON),
    *(f"Digest {algorithm}, refused" for algorithm in UNCOMMON),
    "Digest https, marked nonce",
    "Digest https, unbound refused",
    "Digest, several challenges",
    "Digest, stale nonce",
    "Digest, wrong password",
    "Digest, names in UTF-8 and quoted",
)
_REQUESTS = (
    "Digest, marked nonce",
    *(f"Digest {algorithm}" for algorithm in COMMON[:3]),
    *(f"Digest {algorithm}, refused" for algorithm in (*COMMON[3:], *UNCOMMON)),
    "Digest, several challenges",
    "Digest, stale nonce",
    "Digest, wrong password",
)
_HTTPX = (
    "Digest, marked nonce",
    *(f"Digest {algorithm}" for algorithm in COMMON),
    "Digest, several challenges",
    "Digest, stale nonce",
    "Digest, wrong password",
)
_AIOHTTP = (*_HTTPX, *(f"Digest {algorithm} auth-int" for algorithm in COMMON))
_APACHE = (
    *(
        f"{mechanism}{tls}"
        for tls in ("", " https")
        for mechanism in ("Negotiate, Kerberos", "Negotiate, NTLM", "NTLM")
    ),
    *(f"{mechanism}, wrong password" for mechanism in ("Negotiate, NTLM", "NTLM", "Digest MD5")),
    "Negotiate, service unknown to the server",
    "Negotiate, proof removed",
    *(f"{scheme} to a proxy" for scheme in ("Digest", "Negotiate, Kerberos", "Negotiate, NTLM", "NTLM")),
    "Negotiate, preemptive",
    "Digest MD5",
    "Digest MD5, not named",
    "Digest MD5, nonce counts",
    "Digest MD5, stale nonce",
    "Digest MD5, next nonce",
    "Digest MD5, proof forged",
    "Digest MD5, proof removed",
    *REDIRECTS,
)
LIGHTTPD_ALGORITHMS = ("MD5", "SHA-256", "SHA-512-256")
_LIGHTTPD = (
    *(f"Digest {algorithm}" for algorithm in LIGHTTPD_ALGORITHMS),
    *(f"Digest {algorithm} userhash" for algorithm in LIGHTTPD_ALGORITHMS),
    "Digest, wrong password",
    "Digest, several challenges",
    "Digest, name in UTF-8",
    "Digest, without proof",
)

HTTP_CELLS: tuple[Cell, ...] = (
    *cells(HTTP, "curl", ("client",), _CURL),
    *cells(HTTP, "requests", ("client",), _REQUESTS),
    *cells(HTTP, "httpx", ("client",), _HTTPX),
    *cells(HTTP, "aiohttp", ("client",), _AIOHTTP),
    *cells(HTTP, "Apache", ("server",), _APACHE),
    *cells(HTTP, "lighttpd", ("server",), _LIGHTTPD),
)
