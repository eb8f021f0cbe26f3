"""One end of a security context of Samba's GENSEC, told what to do by JSON objects on standard input, one a line.

Runs under Debian's python3, imports nothing of this project. Every object has "do", the name of a method of `Peer`; the
answer is {"event": "reply", ...}, or {"event": "refused", "message"} where Samba says no.

Argument: the smb.conf of a domain controller, whose accounts and keys an acceptor uses.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

# Debian's packages, which are not in the environment that checks the types
samba: Any = importlib.import_module("samba")
auth: Any = importlib.import_module("samba.auth")
credentials: Any = importlib.import_module("samba.credentials")
gensec: Any = importlib.import_module("samba.gensec")
param: Any = importlib.import_module("samba.param")

Request = dict[str, Any]
Reply = dict[str, Any]

FEATURES = {
    "sign": gensec.FEATURE_SIGN,
    "seal": gensec.FEATURE_SEAL,
    "dce style": gensec.FEATURE_DCE_STYLE,
}


class Peer:
    """The context under way, and the requests as methods."""

    def __init__(self, configuration: str) -> None:
        self.loaded = param.LoadParm()
        self.loaded.load(configuration)
        self.context: Any = None

    def _begin(self, context: Any, known: Any, request: Request) -> Reply:
        self.context = context
        context.set_credentials(known)
        for feature in request["features"]:
            context.want_feature(FEATURES[feature])
        context.start_mech_by_name(request["mechanism"])
        return {}

    def initiate(self, request: Request) -> Reply:
        """Begin as an initiator: mechanism, features, user or null for nobody, password, domain, kerberos, host..."""
        known = credentials.Credentials()
        known.guess(self.loaded)
        if request["user"] is None:
            known.set_anonymous()
        else:
            known.set_username(request["user"])
            known.set_password(request["password"])
            known.set_domain(request["domain"])
        if request["realm"] is not None:
            known.set_realm(request["realm"])
        known.set_kerberos_state(getattr(credentials, request["kerberos"]))
        settings = {"target_hostname": request["host"], "lp_ctx": self.loaded}
        context = gensec.Security.start_client(settings)
        context.set_target_hostname(request["host"])
        context.set_target_service(request["service"])
        return self._begin(context, known, request)

    def accept(self, request: Request) -> Reply:
        """Begin as an acceptor, with the machine's keys and the domain's accounts: mechanism, features."""
        known = credentials.Credentials()
        known.guess(self.loaded)
        known.set_machine_account(self.loaded)
        settings = {"target_hostname": "", "lp_ctx": self.loaded}
        context = gensec.Security.start_server(settings, auth.AuthContext(lp_ctx=self.loaded))
        return self._begin(context, known, request)

    def step(self, request: Request) -> Reply:
        """Take a token, empty at an initiator's start; give one, which may be empty."""
        complete, token = self.context.update(bytes.fromhex(request["token"]))
        return {"complete": bool(complete), "token": token.hex()}

    def inquire(self, request: Request) -> Reply:
        """The session key, and whether there is a protection."""
        return {
            "key": self.context.session_key().hex(),
            "features": [name for name, bit in FEATURES.items() if self.context.have_feature(bit)],
        }

    def peer(self, request: Request) -> Reply:
        """Who initiated: the first of the token's security identifiers."""
        return {"sid": str(self.context.session_info().security_token.sids[0])}

    def wrap(self, request: Request) -> Reply:
        """Protect data as the features say."""
        return {"token": self.context.wrap(bytes.fromhex(request["data"])).hex()}

    def unwrap(self, request: Request) -> Reply:
        """Open what the other end wrapped."""
        return {"data": self.context.unwrap(bytes.fromhex(request["token"])).hex()}

    def sign(self, request: Request) -> Reply:
        """The signature of data."""
        data = bytes.fromhex(request["data"])
        return {"token": self.context.sign_packet(data, data).hex()}

    def verify(self, request: Request) -> Reply:
        """Check one."""
        data = bytes.fromhex(request["data"])
        self.context.check_packet(data, data, bytes.fromhex(request["token"]))
        return {}


def main() -> None:
    """Answer requests until standard input ends."""
    peer = Peer(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"event": "reply", **getattr(peer, request["do"])(request)}
        except (samba.NTSTATUSError, RuntimeError) as error:
            answer = {"event": "refused", "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
