"""Exchanges that Windows, .NET 8 and MIT had: both of our ends say the same octets, MICs included, in their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from securestream.credentials import Credential
from securestream.errors import MalformedMessage
from securestream.machine import HandshakeMachine
from securestream.options import Options, Role
from securestream.principal import Principal
from securestream.provider import (
    Capability,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    SecurityContext,
    TargetName,
    Unusable,
)
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    KERBEROS,
    MS_KERBEROS,
    NTLM,
    USER_TO_USER,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    bare_mechanism,
    frame,
    unframe,
)
from securestream_providers.ntlm import crypto
from securestream_providers.ntlm.context import NtlmContext
from securestream_providers.ntlm.messages import Authenticate, Challenge, Flag
from tests.listing import VECTORS
from tests.providers.negotiate.ends import NOBODY, options, read
from tests.providers.negotiate.toy import Toy

USER, DOMAIN, PASSWORD = "bob", "LAB", "Secret123"
RECORDED = ("ntlm-EncryptAndSign", "ntlm-Sign", "ntlm-zero-write", "ntlm-default-creds-client")
KERBEROS_RECORDED = ("krb-EncryptAndSign", "krb-Sign", "krb-cliEncryptAndSign-srvSign")
ContextMaker = Callable[[Role], SecurityContext]


@dataclass(frozen=True, eq=False)
class Recorded:
    """A mechanism that says again what it said when it was recorded.

    Args:
        oid: its own.
        tokens: of both ends, in turn, the initiator's first.
        make: makes the context in which they end.
    """

    oid: str
    tokens: tuple[bytes, ...]
    make: ContextMaker

    @property
    def info(self) -> PackageInfo:
        return PackageInfo(f"Recorded{self.oid[-2:]}", "recorded", Capability.CONNECTION, 65536, oids=(self.oid,))

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        return (yield from self._run(Role.INITIATOR, 0))

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        assert (yield from Exchange()) == self.tokens[0]
        return (yield from self._run(Role.ACCEPTOR, 1))

    def _run(self, role: Role, at: int) -> Handshake:
        while at < len(self.tokens):
            if at + 1 == len(self.tokens):
                return Established(self.make(role), Principal("peer", "Recorded"), token=self.tokens[at])
            assert (yield from Exchange(self.tokens[at])) == self.tokens[at + 1]
            at += 2
        return Established(self.make(role), Principal("peer", "Recorded"))


def _inner(messages: list[bytes]) -> tuple[bytes, ...]:
    """The mechanism's tokens in the messages, those of NTLM where there are any."""
    found: list[bytes] = []
    for octets in messages:
        message = read(octets)
        token = message.response_token if isinstance(message, NegTokenResp) else message.mech_token
        if token is not None:
            found.append(token)
    ntlm = tuple(token for token in found if token.startswith(b"NTLMSSP\0"))
    return ntlm or tuple(found)


def _with_key(flags: int, key: bytes) -> ContextMaker:
    return lambda role: NtlmContext(role, flags, key, mic=True)


def _by_password(tokens: tuple[bytes, ...]) -> ContextMaker:
    """NTLM contexts whose key follows from the password."""
    challenge, answer = Challenge.unpack(tokens[1]), Authenticate.unpack(tokens[2])
    key = crypto.keyed_md5(crypto.ntowf_v2(crypto.nt_hash(PASSWORD), USER, DOMAIN))
    proof, session = crypto.proof_v2(key, challenge.server_challenge, answer.nt_response[16:])
    assert proof == answer.nt_response[:16]
    if answer.flags & Flag.KEY_EXCH:
        session = crypto.rc4(session).update(answer.encrypted_session_key)
    return _with_key(answer.flags, session)


def _said_again(messages: list[bytes], initiating: Negotiate, accepting: Negotiate) -> None:
    """Each end, given what its peer said, says what was recorded."""
    for role, package in ((Role.INITIATOR, initiating), (Role.ACCEPTOR, accepting)):
        own = role is Role.ACCEPTOR
        machine = HandshakeMachine(
            package.initiate(NOBODY, None, options(1)) if role is Role.INITIATOR else package.accept(NOBODY, options(2))
        )
        step = machine.step()
        established = step.established
        for number, message in enumerate(messages):
            if number % 2 == own:
                assert step.token == message, f"message {number}, {role.value}"
            else:
                step = machine.step(message)
                established = step.established
        assert established is not None
        if role is Role.INITIATOR:
            assert step.token is None


def _captured(shared: Path, name: str) -> list[bytes]:
    frames = json.loads((shared / "vectors" / "nns_captures" / f"{name}.json").read_text())["frames"]
    return [bytes.fromhex(frame["payload"]) for frame in frames if frame["kind"].startswith("Handshake")]


@pytest.mark.parametrize("name", RECORDED)
def test_dotnet_with_ntlm(shared: Path, name: str) -> None:
    """As first choice, and after Kerberos, for which .NET's server asks for MICs."""
    messages = _captured(shared, name)
    tokens = _inner(messages)
    ntlm = Recorded(NTLM, tokens, _by_password(tokens))
    first = unframe(messages[0])
    assert first.mech_types is not None
    if first.mech_types.mech_types[0] == NTLM:
        _said_again(messages, Negotiate(ntlm), Negotiate(ntlm))
    else:
        assert isinstance(first, NegTokenInit)
        assert first.mech_token is not None
        kerberos = Recorded(KERBEROS, (first.mech_token, b"never sent"), Toy().context)
        _said_again(messages, Negotiate(kerberos, ntlm, ntlm="always"), Negotiate(ntlm))


@pytest.mark.parametrize("name", KERBEROS_RECORDED)
def test_dotnet_with_kerberos(shared: Path, name: str) -> None:
    messages = _captured(shared, name)[:2]
    kerberos = Recorded(KERBEROS, _inner(messages), Toy().context)
    _said_again(messages, Negotiate(kerberos), Negotiate(kerberos))


def test_dotnet_without_spnego(shared: Path) -> None:
    """At level None .NET sends NTLM bare, and its end has nothing to say."""
    messages = _captured(shared, "ntlm-None")
    assert messages[3] == b""
    ntlm = Recorded(NTLM, tuple(messages[:3]), Toy().context)
    machine = HandshakeMachine(Negotiate(ntlm).accept(NOBODY, options(2)))
    machine.step()
    assert machine.step(messages[0]).token == messages[1]
    end = machine.step(messages[2])
    assert end.token is None
    assert end.established is not None
    assert end.established.negotiation is not None
    assert end.established.negotiation.offered == ()


def test_mit_with_kerberos(shared: Path) -> None:
    """MIT offers NTLM behind Kerberos; the acceptor has Kerberos alone."""
    (vector,) = (one for one in _vectors(shared, "live_captures_mit_gssntlmssp") if "spnego" in one["id"])
    messages = [bytes.fromhex(token["token"]) for token in vector["tokens"]]
    kerberos = Recorded(KERBEROS, _inner(messages), Toy().context)
    ntlm = Recorded(NTLM, (), Toy().context)
    _said_again(messages, Negotiate(kerberos, ntlm, ntlm="always"), Negotiate(kerberos))


def _vectors(shared: Path, name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((shared / "vectors" / f"{name}.json").read_text())["vectors"]
    return vectors


def _spnego(shared: Path, identifier: str) -> dict[str, Any]:
    (found,) = (one for one in _vectors(shared, "spnego_tokens") if one["id"] == identifier)
    return found


def test_windows_with_ntlm_is_recomputed(shared: Path, record_property: Callable[[str, object], None]) -> None:
    """The server speaks first; both MICs follow from the list as received and the exported key."""
    record_property(VECTORS, "spnego_tokens.json")
    vector = _spnego(shared, "windows-spnego-ntlm-real-exchange")
    hello, *messages = (bytes.fromhex(vector[name]) for name in vector if name.startswith("token"))
    tokens = _inner(messages)
    key, flags = bytes.fromhex(vector["exported_session_key"]), int(vector["ntlm_flags"], 16)
    first = unframe(messages[0])
    assert isinstance(first, NegTokenInit)
    assert first.mech_types_octets.hex() == vector["mech_type_list_der"]
    ntlm = Recorded(NTLM, tokens, _with_key(flags, key))
    client, server = NtlmContext(Role.INITIATOR, flags, key), NtlmContext(Role.ACCEPTOR, flags, key)
    assert client.negotiation_mic(first.mech_types_octets).hex() == vector["client_mechListMIC"]
    assert server.negotiation_mic(first.mech_types_octets).hex() == vector["server_mechListMIC"]
    _said_again(messages, Negotiate(ntlm), Negotiate(ntlm))
    machine = HandshakeMachine(Negotiate(ntlm, server_first=True).initiate(NOBODY, None, options(1)))
    assert machine.step(hello).token == messages[0]


def _altered(message: bytes, places: range) -> Iterator[bytes]:
    for place in places:
        yield message[:place] + bytes((message[place] ^ 0x11,)) + message[place + 1 :]


def test_an_altered_octet_of_the_windows_mics_is_seen(shared: Path) -> None:
    vector = _spnego(shared, "windows-spnego-ntlm-real-exchange")
    _, *messages = (bytes.fromhex(vector[name]) for name in vector if name.startswith("token"))
    tokens = _inner(messages)
    make = _with_key(int(vector["ntlm_flags"], 16), bytes.fromhex(vector["exported_session_key"]))
    ntlm = Recorded(NTLM, tokens, make)
    last = len(messages[-1])
    for forged in _altered(messages[-1], range(last - 16, last)):
        machine = HandshakeMachine(Negotiate(ntlm).initiate(NOBODY, None, options(1)))
        machine.step()
        machine.step(messages[1])
        with pytest.raises(Exception, match="does not fit"):
            machine.step(forged)


@pytest.mark.parametrize("name", [*RECORDED, *KERBEROS_RECORDED])
def test_messages_are_encoded_as_they_came(shared: Path, name: str) -> None:
    for octets in _captured(shared, name):
        if octets[:1] in (b"\x60", b"\xa1"):
            message = read(octets)
            assert (message.encode() if isinstance(message, NegTokenResp) else frame(message)) == octets


OTHERS = {
    "windows-negTokenInit2": "second",
    "pyspnego-initial_context_token_neg_token_init": "first",
    "pyspnego-initial_context_token_neg_token_init2": "second",
    "pyspnego-initial_context_token_krb_ap_req": KERBEROS,
    "pyspnego-initial_context_token_krb_ap_rep": KERBEROS,
    "kerberosnet-u2u-tgt-req": USER_TO_USER,
    "scapy-spnego-krb5-apreq": "first",
}
"""What each published token is: one of the two forms of a first message, or the mechanism that it is of."""


@pytest.mark.parametrize("identifier", OTHERS)
def test_tokens_of_others_are_read(
    shared: Path, identifier: str, record_property: Callable[[str, object], None]
) -> None:
    record_property(VECTORS, "spnego_tokens.json")
    octets = bytes.fromhex(_spnego(shared, identifier)["token"])
    bare = bare_mechanism(octets)
    if bare is not None:
        assert bare == OTHERS[identifier]
        return
    message = unframe(octets)
    assert message.mech_types is not None
    if OTHERS[identifier] == "second":
        assert isinstance(message, NegTokenInit2)
        assert message.neg_hints is not None
        assert (message.neg_hints.hint_name or "").endswith("@please_ignore")
    else:
        assert isinstance(message, NegTokenInit)
        assert message.mech_token is not None
        assert message.mech_types.mech_types[0] in (KERBEROS, MS_KERBEROS)
        assert frame(message) == octets
    for place in range(4, 30):  # the frame, the list, and what tells the forms apart
        forged = octets[:place] + octets[place + 1 :]
        with pytest.raises(MalformedMessage):
            unframe(forged)


def test_each_published_token_has_its_test(shared: Path) -> None:
    names = {vector["id"] for vector in _vectors(shared, "spnego_tokens")}
    assert names == {*OTHERS, "windows-spnego-ntlm-real-exchange"}
