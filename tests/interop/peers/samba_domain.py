"""A Samba domain controller for as long as standard input is open, told what to do by one JSON object as its argument.

Runs under Debian's python3, as root, in mount, pid, uts and network namespaces of its own: it imports nothing of this
project. Prints {"event": "ready", ...} when the domain answers.

Arguments: folder (private, existing), realm, address, password (of Administrator), users ({name: password}), services
({user: [principal...]}), delegation ({user: [principal...]}: with protocol transition), groups ({name: [user...]}).
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PORTS = (88, 389, 464)
PATIENCE = 60.0
TRUSTED_TO_AUTH_FOR_DELEGATION = 0x1000000  # userAccountControl
AES = "24"  # msDS-SupportedEncryptionTypes: otherwise the domain's tickets for a service are of RC4
SETTINGS = """[global]
\tpid directory = {folder}/run
\tncalrpc dir = {folder}/ncalrpc
\tlog file = {folder}/log
\tmax log size = 0
\tserver services = rpc, ldap, cldap, kdc, winbindd
\tdcerpc endpoint servers = epmapper, drsuapi, netlogon, lsarpc, samr
"""


def run(*command: str, check: bool = True) -> None:
    """Run a program whose output is of interest only if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout[-1000:]} {done.stderr[-1000:]}")


def isolate(folder: Path, realm: str, address: str) -> None:
    """Give this machine, as far as the namespaces reach, the name and the files of the domain controller."""
    domain = realm.lower()
    run("hostname", "dc1")
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{address} dc1.{domain} dc1 {domain}\n")
    run("mount", "--bind", str(folder / "hosts"), "/etc/hosts")
    (folder / "resolv").write_text(f"nameserver {address}\nsearch {domain}\n")
    run("mount", "--bind", str(folder / "resolv"), "/etc/resolv.conf")
    if os.path.exists("/etc/samba/smb.conf"):  # provisioning would copy its settings
        (folder / "empty").touch()
        run("mount", "--bind", str(folder / "empty"), "/etc/samba/smb.conf")
    Path("/run/samba").mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "none", "/run/samba")
    Path("/run/samba/winbindd").mkdir(mode=0o755)  # libwbclient looks nowhere else


def provision(folder: Path, realm: str, address: str, password: str) -> Path:
    """Make the domain; give its smb.conf."""
    run(
        *("samba-tool", "domain", "provision", f"--realm={realm}", f"--domain={realm.partition('.')[0]}NT"),
        *("--server-role=dc", "--dns-backend=NONE", f"--adminpass={password}", "--host-name=dc1"),
        *(f"--host-ip={address}", f"--targetdir={folder}", f"--option=interfaces={address}/8"),
        "--option=bind interfaces only=yes",
    )
    for name in ("run", "ncalrpc"):
        (folder / name).mkdir(exist_ok=True)
    file = folder / "etc" / "smb.conf"
    lines = file.read_text().replace("[global]\n", SETTINGS.format(folder=folder), 1).splitlines()
    file.write_text("\n".join(lines) + "\n")
    return file


def populate(settings: dict[str, Any], configuration: Path, folder: Path) -> None:
    """Accounts, services, groups and rights to delegate, written to the database; the keytab of them all."""
    param, samdb, auth = (importlib.import_module(f"samba.{name}") for name in ("param", "samdb", "auth"))
    ldb = importlib.import_module("ldb")
    loaded = param.LoadParm()
    loaded.load(str(configuration))
    database = samdb.SamDB(url=str(folder / "private" / "sam.ldb"), session_info=auth.system_session(loaded), lp=loaded)
    for name, password in settings["users"].items():
        database.newuser(name, password)
    for name, members in settings["groups"].items():
        database.newgroup(name)
        database.add_remove_group_members(name, members)

    def change(user: str, attribute: str, values: list[str], how: int) -> None:
        found = database.search(expression=f"(sAMAccountName={user})", attrs=["userAccountControl"])[0]
        message = ldb.Message(found.dn)
        if attribute == "userAccountControl":
            values = [str(int(str(found["userAccountControl"][0])) | int(values[0]))]
        message[attribute] = ldb.MessageElement(values, how, attribute)
        database.modify(message)

    for name in settings["users"]:
        change(name, "msDS-SupportedEncryptionTypes", [AES], ldb.FLAG_MOD_REPLACE)
    for user, names in settings["services"].items():
        change(user, "servicePrincipalName", names, ldb.FLAG_MOD_ADD)
    for user, names in settings["delegation"].items():
        change(user, "userAccountControl", [str(TRUSTED_TO_AUTH_FOR_DELEGATION)], ldb.FLAG_MOD_REPLACE)
        change(user, "msDS-AllowedToDelegateTo", names, ldb.FLAG_MOD_ADD)
    policy = ldb.Message(database.domain_dn() and ldb.Dn(database, database.domain_dn()))
    policy["minPwdAge"] = ldb.MessageElement(["0"], ldb.FLAG_MOD_REPLACE, "minPwdAge")
    policy["pwdHistoryLength"] = ldb.MessageElement(["0"], ldb.FLAG_MOD_REPLACE, "pwdHistoryLength")
    database.modify(policy)
    for name in [name for names in settings["services"].values() for name in names] + list(settings["users"]):
        run(
            *("samba-tool", "domain", "exportkeytab", str(folder / "keytab"), f"--principal={name}"),
            *("-s", str(configuration)),
        )


def answers(address: str) -> bool:
    """Whether all of the domain controller's ports do."""
    try:
        for port in PORTS:
            socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def main(settings: dict[str, Any]) -> None:
    """Run the domain until standard input ends."""
    folder, realm, address = Path(settings["folder"]), settings["realm"], settings["address"]
    started = time.monotonic()
    isolate(folder, realm, address)
    configuration = provision(folder, realm, address, settings["password"])
    provisioned = time.monotonic()
    populate(settings, configuration, folder)
    populated = time.monotonic()
    with open(folder / "samba.out", "wb") as log:
        controller = subprocess.Popen(
            ["/usr/sbin/samba", "-s", str(configuration), "-F", "--no-process-group"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        while not answers(address):
            if controller.poll() is not None or time.monotonic() > populated + PATIENCE:
                raise RuntimeError(f"samba does not start: {(folder / 'samba.out').read_text()[-2000:]}")
            time.sleep(0.05)
        took = {"provisioning": provisioned - started, "accounts": populated - provisioned}
        took["start"] = time.monotonic() - populated
        print(json.dumps({"event": "ready", "keytab": str(folder / "keytab"), "took": took}), flush=True)
        sys.stdin.read()
    finally:
        controller.terminate()


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except (RuntimeError, OSError, ImportError) as error:
        print(json.dumps({"event": "failed", "message": str(error)}), flush=True)
        sys.exit(1)
