"""Names of well-known security identifiers, for readers ([MS-DTYP] 2.4.2.4)."""

from __future__ import annotations

import re
from typing import Final

_WHOLE: Final = {
    "S-1-0-0": "Nobody",
    "S-1-1-0": "Everyone",
    "S-1-3-0": "Creator Owner",
    "S-1-5-2": "Network",
    "S-1-5-3": "Batch",
    "S-1-5-4": "Interactive",
    "S-1-5-6": "Service",
    "S-1-5-7": "Anonymous",
    "S-1-5-9": "Enterprise Domain Controllers",
    "S-1-5-11": "Authenticated Users",
    "S-1-5-15": "This Organization",
    "S-1-5-18": "Local System",
    "S-1-5-19": "Local Service",
    "S-1-5-20": "Network Service",
    "S-1-5-1000": "Other Organization",
    "S-1-5-21-0-0-0-496": "Compounded Authentication",
    "S-1-5-21-0-0-0-497": "Claims Valid",
    "S-1-5-32-544": "Administrators",
    "S-1-5-32-545": "Users",
    "S-1-5-32-546": "Guests",
    "S-1-5-32-551": "Backup Operators",
    "S-1-5-32-554": "Pre-Windows 2000 Compatible Access",
    "S-1-5-32-555": "Remote Desktop Users",
    "S-1-5-64-10": "NTLM Authentication",
    "S-1-5-64-14": "SChannel Authentication",
    "S-1-5-64-21": "Digest Authentication",
    "S-1-5-65-1": "This Organization Certificate",
    "S-1-18-1": "Authentication Authority Asserted Identity",
    "S-1-18-2": "Service Asserted Identity",
    "S-1-18-3": "Fresh Public Key Identity",
    "S-1-18-4": "Key Trust Identity",
}

_RELATIVE: Final = {
    498: "Enterprise Read-only Domain Controllers",
    500: "Administrator",
    501: "Guest",
    502: "krbtgt",
    512: "Domain Admins",
    513: "Domain Users",
    514: "Domain Guests",
    515: "Domain Computers",
    516: "Domain Controllers",
    517: "Cert Publishers",
    518: "Schema Admins",
    519: "Enterprise Admins",
    520: "Group Policy Creator Owners",
    521: "Read-only Domain Controllers",
    522: "Cloneable Domain Controllers",
    525: "Protected Users",
    526: "Key Admins",
    527: "Enterprise Key Admins",
    553: "RAS and IAS Servers",
    571: "Allowed RODC Password Replication Group",
    572: "Denied RODC Password Replication Group",
}

_OF_DOMAIN: Final = re.compile(r"S-1-5-21(?:-\d+){3}-(\d+)")


def sid_name(sid: str) -> str:
    """The name of a well-known SID, or of a well-known account or group of a domain; empty for any other."""
    found = _WHOLE.get(sid)
    if found is not None:
        return found
    relative = _OF_DOMAIN.fullmatch(sid)
    return "" if relative is None else _RELATIVE.get(int(relative[1]), "")
