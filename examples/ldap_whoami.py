"""Asks an LDAP server "Who am I?", everything after the logon sealed (RFC 4511, RFC 4532).

The logon is that of SASL: GSSAPI, with Kerberos, or GSS-SPNEGO, with what Negotiate chooses; this program only carries
its tokens in bind requests, and its layer around messages. Domain controllers that do not know the question (Samba
before 4.20) are asked for the security identifier instead.

``python examples/ldap_whoami.py USER NAME [--mechanism GSS-SPNEGO] [--address HOST] [--kdc HOST:PORT]`` reads the
password from SECURESTREAM_PASSWORD, or asks for it. NAME is the server's, such as dc1.corp.example: the ticket is for
ldap/NAME.
"""

from __future__ import annotations

import argparse
import getpass
import os
import socket
from collections.abc import Iterator

import securestream as ss
from securestream.sasl import Gssapi, GssSpnego, SaslClient, SaslLayer, SaslMechanism
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

GSSAPI, GSS_SPNEGO = "GSSAPI", "GSS-SPNEGO"
MOST = 0xFFFF
WHO_AM_I = b"1.3.6.1.4.1.4203.1.11.3"
SUCCESS, PROTOCOL_ERROR, BIND_IN_PROGRESS = 0, 2, 14
SEARCH_ENTRY = 0x64


class LdapError(Exception):
    """The server refused, or did not speak LDAP."""


def element(tag: int, *contents: bytes) -> bytes:
    """An element of BER."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    return bytes((tag, 0x82)) + len(body).to_bytes(2, "big") + body


def elements(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of BER that `octets` are; servers write lengths in longer forms than they need."""
    while octets:
        size, at = octets[1], 2
        if size & 0x80:
            at = 2 + (size & 0x7F)
            size = int.from_bytes(octets[2:at], "big")
        yield octets[0], octets[at : at + size]
        octets = octets[at + size :]


class Ldap:
    """A connection to an LDAP server, one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._number = 0
        self._layer: SaslLayer | None = None
        self._opened = b""

    def bind(self, mechanism: SaslMechanism, credential: ss.Credential, target: str) -> ss.Established:
        """Log on, and have all that follows sealed."""
        client = SaslClient(mechanism, credential=credential, target=target, options=ss.system_options())
        code, answer = self._step(client, client.response(ss.respond_blocking(client.machine)))
        while code == BIND_IN_PROGRESS:
            step = ss.respond_blocking(client.machine, client.challenged(answer or b""))
            code, answer = self._step(client, client.response(step))
        last = client.succeeded(answer)
        if last is not None:
            client.response(ss.respond_blocking(client.machine, last))
        established = client.established
        if not isinstance(established.result, SaslLayer):
            raise LdapError("this is no SASL mechanism")
        self._layer = established.result
        return established

    def who_am_i(self) -> str:
        """Who the server takes us for (RFC 4532)."""
        code, answer = self._ask(element(0x77, element(0x80, WHO_AM_I)))
        if code == PROTOCOL_ERROR:
            return self.security_identifier()
        if code != SUCCESS:
            raise LdapError(f"the server answered {code}")
        return answer.get(0x8B, b"").decode()

    def security_identifier(self) -> str:
        """Our security identifier: the first of the rootDSE's tokenGroups ([MS-ADTS] 3.1.1.3.2.1)."""
        everything, nothing = element(0x87, b"objectClass"), element(0x02, b"\0")
        wanted = element(0x30, element(0x04, b"tokenGroups"))
        entry: dict[int, bytes] = {}
        self._request(
            element(
                0x63, element(0x04), element(0x0A, b"\0") * 2, nothing * 2, element(0x01, b"\0"), everything, wanted
            )
        )
        while (response := self._response())[0] == SEARCH_ENTRY:
            entry = dict(elements(response[1]))
        for _, attribute in elements(entry.get(0x30, b"")):
            values = dict(elements(attribute)).get(0x31, b"")
            for _, value in elements(values):
                return readable(value)
        raise LdapError("the server does not say who we are")

    def _step(self, client: SaslClient, response: bytes | None) -> tuple[int, bytes | None]:
        """One step of the logon: the result code, and the server's challenge or additional data."""
        credentials = () if response is None else (element(0x04, response),)
        sasl = element(0xA3, element(0x04, client.name.encode()), *credentials)
        code, answer = self._ask(element(0x60, element(0x02, b"\3"), element(0x04), sasl))
        if code not in (SUCCESS, BIND_IN_PROGRESS):
            client.close()
            raise LdapError(f"the logon failed with {code}: {answer.get(0x04, b'').decode(errors='replace')}")
        return code, answer.get(0x87)

    def _ask(self, operation: bytes) -> tuple[int, dict[int, bytes]]:
        """One request: the result code, and the elements of the response by tag."""
        self._request(operation)
        (_, code), *others = elements(self._response()[1])
        return int.from_bytes(code, "big"), dict(others)

    def _request(self, operation: bytes) -> None:
        self._number += 1
        message = element(0x30, element(0x02, self._number.to_bytes(4, "big")), operation)
        if self._layer is not None:  # RFC 4422 3.7: buffers with their length in front
            sealed = self._layer.wrap(message)
            message = len(sealed).to_bytes(4, "big") + sealed
        self._connection.sendall(message)

    def _response(self) -> tuple[int, bytes]:
        """The next response: its tag and its content."""
        head = self._take(2)
        size = head[1]
        if size & 0x80:
            size = int.from_bytes(self._take(size & 0x7F), "big")
        (_, number), response, *_ = elements(self._take(size))
        if int.from_bytes(number, "big") != self._number:
            raise LdapError("the server answered another request")
        return response

    def _take(self, size: int) -> bytes:
        """The next `size` octets of messages, out of their buffers."""
        if self._layer is None:
            return self._read(size)
        while len(self._opened) < size:
            self._opened += self._layer.unwrap(self._read(int.from_bytes(self._read(4), "big"))).data
        taken, self._opened = self._opened[:size], self._opened[size:]
        return taken

    def _read(self, size: int) -> bytes:
        """The next `size` octets of the connection."""
        if size > MOST:
            raise LdapError(f"a message of {size} octets is longer than this example takes")
        taken = b""
        while len(taken) < size:
            piece = self._connection.recv(size - len(taken))
            if not piece:
                raise LdapError("the server closed the connection")
            taken += piece
        return taken


def readable(sid: bytes) -> str:
    """A security identifier as text ([MS-DTYP] 2.4.2)."""
    parts = [int.from_bytes(sid[at : at + 4], "little") for at in range(8, len(sid), 4)]
    return "-".join(("S", str(sid[0]), str(int.from_bytes(sid[2:8], "big")), *map(str, parts)))


def main() -> None:
    """Ask and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("user", help=r"USER@REALM, or DOMAIN\USER for GSS-SPNEGO")
    parser.add_argument("name", help="of the server")
    parser.add_argument("--mechanism", choices=(GSSAPI, GSS_SPNEGO), default=GSSAPI, help="of SASL")
    parser.add_argument("--address", help="of the server, instead of its name's")
    parser.add_argument("--kdc", help="HOST:PORT of the realm's KDC, instead of krb5.conf's")
    asked = parser.parse_args()
    realm = asked.user.rpartition("@")[2]
    kerberos = Kerberos(realm=realm, kdc=asked.kdc) if asked.kdc else Kerberos()
    mechanism = Gssapi(kerberos) if asked.mechanism == GSSAPI else GssSpnego(Negotiate(kerberos, Ntlm()))
    password = os.environ.get("SECURESTREAM_PASSWORD") or getpass.getpass()
    with socket.create_connection((asked.address or asked.name, 389), 10) as connection:
        ldap = Ldap(connection)
        ldap.bind(mechanism, ss.Password(asked.user, password), f"ldap/{asked.name}")
        print(ldap.who_am_i())


if __name__ == "__main__":
    main()
