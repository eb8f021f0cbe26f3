"""The account that the NTLM peers know, and the file that tells them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DOMAIN = "CORP"
USER = "alice"
NAME = f"{DOMAIN}\\{USER}"


def ntlm_environment(folder: Path, accounts: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Variables that give a process gss-ntlmssp's NTLMv2 with these accounts, `{(domain, user): password}`."""
    file = folder / "ntlm-users"
    file.touch(mode=0o600)
    file.write_text("".join(f"{domain}:{user}:{password}\n" for (domain, user), password in accounts.items()))
    return {"NTLM_USER_FILE": str(file), "LM_COMPAT_LEVEL": "5"}
