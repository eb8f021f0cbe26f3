"""MIT's GSS-API, with Kerberos and gss-ntlmssp, one security context at a time, told what to do by JSON lines.

Runs under Debian's python3 with its python3-gssapi: it imports nothing of this project. Octets are hexadecimal. Each
request {"do": ...} is answered by {"event": "reply", ...}, or by {"event": "refused", "major": ..., "message": ...}
when GSS-API says no. The raw calls are used, since `gssapi.SecurityContext` defers errors of a step.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

# Debian's package, which is not in the environment that checks the types
gss: Any = importlib.import_module("gssapi.raw")

MECHANISMS = {
    "ntlm": gss.OID.from_int_seq("1.3.6.1.4.1.311.2.2.10"),
    "krb5": gss.MechType.kerberos,
    "spnego": gss.OID.from_int_seq("1.3.6.1.5.5.2"),
}
SESSION_KEY = gss.OID.from_int_seq("1.2.840.113554.1.2.2.5.5")  # GSS_C_INQ_SSPI_SESSION_KEY

Request = dict[str, Any]
Reply = dict[str, Any]


class Peer:
    """The context under way, and the requests as methods."""

    def __init__(self) -> None:
        self.context: Any = None
        self.delegated: Any = None
        self.advance: Callable[[bytes | None], Any] = lambda token: None

    def initiate(self, request: Request) -> Reply:
        """Begin as an initiator: user, password (or what the environment has), target, flags, bindings, lifetime...

        With "delegated" the credential is what the initiator of the context before has delegated. "offered" are the
        mechanisms of a negotiation in their order.
        """
        mechanism = MECHANISMS[request.get("mechanism", "ntlm")]
        user = request.get("user")
        name = None if user is None else gss.import_name(user.encode(), gss.NameType.user)
        if request.get("delegated"):
            credentials = self.delegated
        elif (password := request.get("password")) is not None:
            credentials = gss.acquire_cred_with_password(name, password.encode(), None, [mechanism], "initiate").creds
        else:
            credentials = gss.acquire_cred(name, None, [mechanism], "initiate").creds
        self._limit(credentials, request)
        target = gss.import_name(request["target"].encode(), gss.NameType.hostbased_service)
        flags = sum(gss.RequirementFlag[flag] for flag in request.get("flags", ()))
        bindings = self._bindings(request)
        lifetime = request.get("lifetime")
        self.context = None

        def advance(token: bytes | None) -> Any:
            return gss.init_sec_context(target, credentials, self.context, mechanism, flags, lifetime, bindings, token)

        self.advance = advance
        return {}

    def accept(self, request: Request) -> Reply:
        """Begin as an acceptor: bindings, mechanism, and those that it may choose in a negotiation ("offered")."""
        mechanism = MECHANISMS[request.get("mechanism", "ntlm")]
        acquired = gss.acquire_cred(None, None, [mechanism], "accept")
        self._limit(acquired.creds, request)
        bindings = self._bindings(request)
        self.context = None

        def advance(token: bytes | None) -> Any:
            result = gss.accept_sec_context(token, acquired.creds, self.context, bindings)
            self.delegated = result.delegated_creds
            return result

        self.advance = advance
        return {}

    @staticmethod
    def _limit(credentials: Any, request: Request) -> None:
        if offered := request.get("offered"):
            gss.set_neg_mechs(credentials, [MECHANISMS[name] for name in offered])

    @staticmethod
    def _bindings(request: Request) -> Any:
        data = request.get("bindings")
        return None if data is None else gss.ChannelBindings(application_data=bytes.fromhex(data))

    def step(self, request: Request) -> Reply:
        """Take a token, or none at the start; give one, or none."""
        token = request.get("token")
        result = self.advance(None if token is None else bytes.fromhex(token))
        self.context = result.context
        return {
            "token": None if result.token is None else result.token.hex(),
            "complete": not result.more_steps,
            "flags": sorted(gss.RequirementFlag(flag).name for flag in result.flags),
            "lifetime": result.lifetime,
            "delegated": getattr(result, "delegated_creds", None) is not None,
        }

    def inquire(self, request: Request) -> Reply:
        """Who initiated, and the session key."""
        # gss-ntlmssp 1.2.0 as an acceptor crashes when it is asked for the target too
        found = gss.inquire_context(self.context, initiator_name=True, target_name=False)
        name = gss.display_name(found.initiator_name, False).name.decode().rstrip("\0")
        key = gss.inquire_sec_context_by_oid(self.context, SESSION_KEY)[0]
        chosen = gss.inquire_context(self.context, initiator_name=False, target_name=False, mech=True).mech
        return {"initiator": name, "key": key.hex(), "mechanism": chosen.dotted_form}

    def wrap(self, request: Request) -> Reply:
        """Seal, or only sign, data."""
        result = gss.wrap(self.context, bytes.fromhex(request["data"]), request.get("encrypt", True))
        return {"token": result.message.hex(), "encrypted": result.encrypted}

    def unwrap(self, request: Request) -> Reply:
        """Open what the other end wrapped."""
        result = gss.unwrap(self.context, bytes.fromhex(request["token"]))
        return {"data": result.message.hex(), "encrypted": result.encrypted}

    def wrap_iov(self, request: Request) -> Reply:
        """Protect buffers, [[type, octets or null, for what is to be made]...]; give the octets of each."""
        buffers = self._buffers(request)
        gss.wrap_iov(self.context, buffers, request.get("encrypt", True))
        return {"buffers": [(buffer.value or b"").hex() for buffer in buffers]}

    def unwrap_iov(self, request: Request) -> Reply:
        """Check and open buffers."""
        buffers = self._buffers(request)
        result = gss.unwrap_iov(self.context, buffers)
        return {"buffers": [(buffer.value or b"").hex() for buffer in buffers], "encrypted": result.encrypted}

    @staticmethod
    def _buffers(request: Request) -> Any:
        described = [
            gss.IOVBuffer(gss.IOVBufferType[kind], octets is None, None if octets is None else bytes.fromhex(octets))
            for kind, octets in request["buffers"]
        ]
        return gss.IOV(*described, std_layout=False)

    def export(self, request: Request) -> Reply:
        """Give the context away."""
        octets = gss.export_sec_context(self.context)
        self.context = None
        return {"context": octets.hex()}

    def revive(self, request: Request) -> Reply:
        """Take over a context."""
        self.context = gss.import_sec_context(bytes.fromhex(request["context"]))
        return {}

    def store(self, request: Request) -> Reply:
        """Write what was delegated to a credential cache."""
        gss.store_cred_into({b"ccache": request["ccache"].encode()}, self.delegated, usage="initiate", overwrite=True)
        return {}

    def attributes(self, request: Request) -> Reply:
        """The attributes of the initiator's name: for Kerberos, the buffers of its PAC."""
        name = gss.inquire_context(self.context, initiator_name=True, target_name=False).initiator_name
        return {"attributes": sorted(attribute.decode() for attribute in gss.inquire_name(name).attrs)}

    def lifetime(self, request: Request) -> Reply:
        """Seconds that the context has left."""
        return {"lifetime": gss.context_time(self.context)}

    def sign(self, request: Request) -> Reply:
        """Make a message integrity code."""
        return {"token": gss.get_mic(self.context, bytes.fromhex(request["data"])).hex()}

    def verify(self, request: Request) -> Reply:
        """Check one."""
        gss.verify_mic(self.context, bytes.fromhex(request["data"]), bytes.fromhex(request["token"]))
        return {}


def main() -> None:
    """Answer requests until standard input ends."""
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"event": "reply", **getattr(peer, request["do"])(request)}
        except gss.GSSError as error:
            answer = {"event": "refused", "major": error.maj_code, "minor": error.min_code, "message": str(error)}
            answer["token"] = error.token.hex() if error.token else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
