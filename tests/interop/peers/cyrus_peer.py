"""Cyrus SASL (libsasl2) through ctypes, one connection at a time, told what to do by JSON lines.

It imports nothing of this project. Octets are hexadecimal. Each request {"do": ...} is answered by {"event": "reply",
...}, or by {"event": "refused", "code": ..., "message": ...} when the library says no. Its first argument is a JSON
object: the options of its configuration, such as ``sasldb_path``.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from typing import Any

Request = dict[str, Any]
Reply = dict[str, Any]

OK, CONTINUE, FAIL = 0, 1, -1
NO_USER = -20
USERNAME, SSF, MAX_OUT_BUFFER, BINDING, SECURITY = 0, 1, 2, 21, 101
GETOPT, LOG, USER, AUTHNAME, PASS, GETREALM, PROXY = 1, 2, 0x4001, 0x4002, 0x4004, 0x4008, 0x8001
SUCCESS_DATA = 4
VOID, TEXT, SIZE, NUMBER = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_int
OUT = ctypes.POINTER(ctypes.c_void_p)


class Callback(ctypes.Structure):
    """sasl_callback_t."""

    _fields_ = (("id", ctypes.c_ulong), ("procedure", VOID), ("context", VOID))


class Security(ctypes.Structure):
    """sasl_security_properties_t."""

    _fields_ = (
        ("min_ssf", SIZE),
        ("max_ssf", SIZE),
        ("max_buffer", SIZE),
        ("flags", SIZE),
        ("names", VOID),
        ("values", VOID),
    )


GetOpt = ctypes.CFUNCTYPE(NUMBER, VOID, TEXT, TEXT, ctypes.POINTER(TEXT), ctypes.POINTER(SIZE))
Simple = ctypes.CFUNCTYPE(NUMBER, VOID, NUMBER, ctypes.POINTER(TEXT), ctypes.POINTER(SIZE))
Secret = ctypes.CFUNCTYPE(NUMBER, VOID, VOID, NUMBER, OUT)
Realm = ctypes.CFUNCTYPE(NUMBER, VOID, NUMBER, ctypes.POINTER(TEXT), ctypes.POINTER(TEXT))
Proxy = ctypes.CFUNCTYPE(NUMBER, VOID, VOID, TEXT, SIZE, TEXT, SIZE, TEXT, SIZE, VOID)
Log = ctypes.CFUNCTYPE(NUMBER, VOID, NUMBER, TEXT)


class Binding(ctypes.Structure):
    """sasl_channel_binding_t."""

    _fields_ = (("name", TEXT), ("critical", NUMBER), ("length", ctypes.c_ulong), ("data", TEXT))


class Refused(Exception):
    """The library said no.

    Args:
        code: its result.
        message: in its own words.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Peer:
    """The connection under way, and the requests as methods.

    Args:
        options: of the library's configuration.
    """

    def __init__(self, options: dict[str, str]) -> None:
        self.library = ctypes.CDLL("libsasl2.so.2")
        self.library.sasl_errdetail.restype = TEXT
        self.options = {name.encode(): value.encode() for name, value in options.items()}
        self.told: dict[int, bytes] = {}
        self.secret: Any = None
        self.binding: Any = None
        self.connection = VOID()
        self.is_client = False
        self.kept: list[Any] = []
        """Whatever the library has a pointer to."""
        callbacks = self._callbacks()
        self._check(self.library.sasl_client_init(callbacks))
        self._check(self.library.sasl_server_init(callbacks, b"interop"))

    # --- callbacks

    def _callbacks(self) -> Any:
        simple = Simple(self._simple)
        procedures = (
            (GETOPT, GetOpt(self._option)),
            (LOG, Log(self._log)),
            (USER, simple),
            (AUTHNAME, simple),
            (PASS, Secret(self._password)),
            (GETREALM, Realm(self._realm)),
            (PROXY, Proxy(self._proxy)),
        )
        made = (Callback * (len(procedures) + 1))()
        for place, (number, procedure) in zip(made, procedures, strict=False):
            place.id, place.procedure = number, ctypes.cast(procedure, VOID)
        self.kept += [made, procedures]
        return made

    def _log(self, context: Any, level: int, message: bytes) -> int:
        """Nothing: what is refused is told where it is asked."""
        return OK

    def _option(self, context: Any, plugin: bytes, option: bytes, result: Any, length: Any) -> int:
        value = self.options.get(option)
        if value is None:
            return FAIL
        result[0] = value
        if length:
            length[0] = len(value)
        return OK

    def _simple(self, context: Any, number: int, result: Any, length: Any) -> int:
        value = self.told.get(number)
        result[0] = value
        if length:
            length[0] = len(value or b"")
        return OK

    def _password(self, connection: Any, context: Any, number: int, result: Any) -> int:
        result[0] = ctypes.addressof(self.secret)
        return OK

    def _realm(self, context: Any, number: int, offered: Any, result: Any) -> int:
        result[0] = self.told.get(GETREALM) or offered[0]
        return OK

    def _proxy(self, connection: Any, context: Any, wanted: bytes, size: int, user: bytes, *more: Any) -> int:
        """Whether a user may act as another: nobody but who is called proxy."""
        return OK if wanted == user or user.startswith(b"proxy") else NO_USER

    # --- requests

    def client(self, request: Request) -> Reply:
        """Begin as a client: service, host, user, authzid, password, realm, bindings, what is asked of the layer."""
        password = request.get("password", "").encode()
        told = {USER: request.get("authzid"), AUTHNAME: request.get("user"), GETREALM: request.get("realm")}
        self.told = {number: value.encode() for number, value in told.items() if value is not None}
        layout = type("Layout", (ctypes.Structure,), {"_fields_": [("n", ctypes.c_ulong), ("d", _array(password))]})
        self.secret = layout(len(password), password)
        self._dispose()
        self.is_client = True
        flags = SUCCESS_DATA if request.get("success_data") else 0
        names = (request["service"].encode(), request["host"].encode())
        self._check(
            self.library.sasl_client_new(*names, None, None, None, flags, ctypes.byref(self.connection)), begun=False
        )
        self._secure(request)
        return {}

    def server(self, request: Request) -> Reply:
        """Begin as a server: service, host, realm, bindings, and what is asked of the layer."""
        self._dispose()
        self.is_client = False
        flags = SUCCESS_DATA if request.get("success_data") else 0
        realm = request.get("realm")
        self._check(
            self.library.sasl_server_new(
                request["service"].encode(),
                request["host"].encode(),
                None if realm is None else realm.encode(),
                None,
                None,
                None,
                flags,
                ctypes.byref(self.connection),
            ),
            begun=False,
        )
        self._secure(request)
        return {}

    def start(self, request: Request) -> Reply:
        """The first step: the mechanism; for a server the client's initial response, which may be null."""
        mechanism, out, length = request["mechanism"].encode(), VOID(), SIZE()
        if self.is_client:
            chosen = TEXT()
            code = self.library.sasl_client_start(
                self.connection, mechanism, None, ctypes.byref(out), ctypes.byref(length), ctypes.byref(chosen)
            )
        else:
            token = _octets(request.get("token"))
            code = self.library.sasl_server_start(
                self.connection, mechanism, token, len(token or b""), ctypes.byref(out), ctypes.byref(length)
            )
        return self._stepped(code, out, length)

    def step(self, request: Request) -> Reply:
        """A further step, with the other end's token."""
        out, length = VOID(), SIZE()
        token = _octets(request.get("token"))
        outputs = (ctypes.byref(out), ctypes.byref(length))
        if self.is_client:
            code = self.library.sasl_client_step(self.connection, token, len(token or b""), None, *outputs)
        else:
            code = self.library.sasl_server_step(self.connection, token, len(token or b""), *outputs)
        return self._stepped(code, out, length)

    def encode(self, request: Request) -> Reply:
        """Protect data: the buffer with its length."""
        return self._coded(self.library.sasl_encode, request)

    def decode(self, request: Request) -> Reply:
        """Open buffers with their lengths."""
        return self._coded(self.library.sasl_decode, request)

    def state(self, request: Request) -> Reply:
        """Who logged on, the strength of the layer, and the longest plaintext that may be sent."""
        name, ssf, longest = TEXT(), ctypes.POINTER(SIZE)(), ctypes.POINTER(SIZE)()
        for number, value in ((USERNAME, name), (SSF, ssf), (MAX_OUT_BUFFER, longest)):
            self._check(self.library.sasl_getprop(self.connection, number, ctypes.byref(value)))
        return {"user": (name.value or b"").decode(), "ssf": ssf[0], "longest": longest[0]}

    # --- helpers

    def _secure(self, request: Request) -> None:
        asked = Security(request.get("min_ssf", 0), request.get("max_ssf", 256), request.get("max_buffer", 65536), 0)
        self._check(self.library.sasl_setprop(self.connection, SECURITY, ctypes.byref(asked)))
        bindings = request.get("bindings")
        if bindings is not None:
            name, _, data = bytes.fromhex(bindings).partition(b":")
            self.binding = Binding(name, 1, len(data), data)
            self._check(self.library.sasl_setprop(self.connection, BINDING, ctypes.byref(self.binding)))

    def _stepped(self, code: int, out: Any, length: Any) -> Reply:
        if code not in (OK, CONTINUE):
            raise self._refused(code)
        token = None if not out.value else ctypes.string_at(out.value, length.value).hex()
        return {"complete": code == OK, "token": token}

    def _coded(self, function: Any, request: Request) -> Reply:
        octets, out, length = bytes.fromhex(request["data"]), VOID(), SIZE()
        self._check(function(self.connection, octets, len(octets), ctypes.byref(out), ctypes.byref(length)))
        return {"data": ctypes.string_at(out.value, length.value).hex() if length.value and out.value else ""}

    def _check(self, code: int, *, begun: bool = True) -> None:
        if code != OK:
            raise self._refused(code) if begun else Refused(code, f"libsasl2 answers {code}")

    def _refused(self, code: int) -> Refused:
        detail = self.library.sasl_errdetail(self.connection) if self.connection.value else None
        return Refused(code, (detail or f"libsasl2 answers {code}".encode()).decode(errors="replace"))

    def _dispose(self) -> None:
        if self.connection.value:
            self.library.sasl_dispose(ctypes.byref(self.connection))
        self.connection = VOID()


def _array(octets: bytes) -> Any:
    """The type of an array with room for these octets and a NUL."""
    return ctypes.c_char * (len(octets) + 1)


def _octets(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def main() -> None:
    """Answer the requests of standard input until it ends."""
    peer = Peer(json.loads(sys.argv[1]))
    for line in sys.stdin:
        request: Request = json.loads(line)
        function: Callable[[Request], Reply] = getattr(peer, request["do"])
        try:
            answer: Reply = {"event": "reply", **function(request)}
        except Refused as error:
            answer = {"event": "refused", "code": error.code, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
