"""NTLM with gss-ntlmssp and with pyspnego, token by token, either end being ours (MS-NLMP; SECURITY 8 to 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, TypeAlias

import pytest

from securestream.ambient import system_options
from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts, Password
from securestream.drive import Services, respond_blocking
from securestream.errors import BadBindings, BadSignature, Downgrade, LogonDenied
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, Protection
from securestream.provider import Established, SecurityContext, TargetName
from securestream_providers.ntlm import Ntlm
from tests.interop.expected_ntlm import BINDINGS, TABLE
from tests.interop.matrix import Filler
from tests.interop.peers import gssapi, pyspnego
from tests.interop.peers.accounts import DOMAIN, NAME, USER
from tests.interop.peers.foreign import ForeignEnd, Refused

PEERS: dict[str, tuple[ModuleType, Callable[[Mapping[str, str]], ForeignEnd]]] = {
    "gss-ntlmssp": (gssapi, gssapi.GssPeer),
    "pyspnego": (pyspnego, pyspnego.SpnegoPeer),
}
MICLESS = "gss-ntlmssp"
"""Sends no MIC outside SPNEGO (1.2.0), which our acceptor takes only by name."""

SIZES = (1, 17, 1000, 65536)
GOOD = b"tls-exporter:" + bytes(range(32))
EVIL = b"tls-exporter:" + bytes(32)
LEVELS = {"sign": Protection.SIGN, "encrypt and sign": Protection.ENCRYPT_AND_SIGN}
Theirs: TypeAlias = Literal["initiator", "acceptor"]


@dataclass
class Foreign:
    """The foreign end of one test."""

    name: str
    version: str
    end: ForeignEnd

    @property
    def mic(self) -> Literal["required", "optional"]:
        """What our acceptor must ask for to talk to it."""
        return "optional" if self.name == MICLESS else "required"


@pytest.fixture(params=PEERS)
def foreign(
    request: pytest.FixtureRequest, ntlm_accounts: dict[str, str], require: Callable[[ModuleType], str]
) -> Iterator[Foreign]:
    """Each foreign implementation in turn."""
    module, make = PEERS[request.param]
    version = require(module)
    end = make(ntlm_accounts)
    yield Foreign(request.param, version, end)
    end.close()


def our_initiator(password: str, *, level: Protection, bindings: bytes | None = None) -> HandshakeMachine:
    """Our end as an initiator."""
    options = system_options(protection=level, channel_bindings=None if bindings is None else ChannelBindings(bindings))
    return HandshakeMachine(Ntlm().initiate(Password(NAME, password), TargetName("host/files.example"), options))


def our_acceptor(
    password: str,
    *,
    mic: Literal["required", "optional"],
    level: Protection = Protection.ENCRYPT_AND_SIGN,
    bindings: bytes | None = None,
    policy: BindingPolicy = BindingPolicy.WHEN_SUPPORTED,
    name: str = NAME,
) -> HandshakeMachine:
    """Our end as an acceptor that knows one account."""
    options = system_options(
        protection=level,
        channel_bindings=None if bindings is None else ChannelBindings(bindings),
        binding_policy=policy,
    )
    return HandshakeMachine(Ntlm(mic=mic).accept(Accounts.memory(**{name: password}), options))


def complete(ours: HandshakeMachine, theirs: ForeignEnd, role: Theirs) -> Established:
    """Run the handshake to its end; `role` is that of the foreign end."""
    services = Services()
    step = respond_blocking(ours, theirs.step(None) if role == "initiator" else None, services)
    while step.token is not None:
        reply = theirs.step(step.token)
        if reply is None:
            break
        step = respond_blocking(ours, reply, services)
    assert step.established is not None
    assert theirs.complete
    return step.established


def context_of(established: Established) -> SecurityContext:
    """The security context, which NTLM always ends with."""
    assert isinstance(established.result, SecurityContext)
    return established.result


def begin(foreign: Foreign, role: Theirs, ours: str, theirs: str, level: str) -> HandshakeMachine:
    """Begin at both ends, which know the passwords `ours` and `theirs`; `role` is the foreign end's."""
    protection = LEVELS[level]
    if role == "initiator":
        encrypt = protection is Protection.ENCRYPT_AND_SIGN
        foreign.end.initiate(NAME, theirs, "host@files.example", encrypt=encrypt)
        return our_acceptor(ours, mic=foreign.mic, level=protection)
    foreign.end.accept()
    return our_initiator(ours, level=protection)


@pytest.mark.interop
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
def test_completes_and_protects_both_ways(
    foreign: Foreign, role: Theirs, level: str, password: str, matrix: Filler
) -> None:
    ours = begin(foreign, role, password, password, level)
    established = complete(ours, foreign.end, role)
    context = context_of(established)
    assert context.session_key == foreign.end.session_key()
    if role == "initiator":
        assert (established.peer.name, established.peer.authority) == (USER, DOMAIN)
    else:
        assert foreign.end.peer() == NAME
    for size in SIZES:
        data = bytes(index % 251 for index in range(size))
        if level == "encrypt and sign":
            sealed = context.wrap(data)
            assert data[:16] not in sealed or size < 16
            assert foreign.end.unwrap(sealed) == data
            assert context.unwrap(foreign.end.wrap(data)) == (data, True)
        foreign.end.verify(data, context.sign(data))
        context.verify(data, foreign.end.sign(data))
    seen = "sealed and signed" if level == "encrypt and sign" else "signed"
    matrix.fill(TABLE, foreign.name, foreign.version, role, level, f"{seen} each way, {max(SIZES)} octets")


@pytest.mark.interop
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
def test_a_wrong_password_is_refused(foreign: Foreign, role: Theirs, password: str, matrix: Filler) -> None:
    if role == "initiator":
        ours = begin(foreign, role, password, "wrong", "encrypt and sign")
        with pytest.raises(LogonDenied):
            complete(ours, foreign.end, role)
    else:
        ours = begin(foreign, role, "wrong", password, "encrypt and sign")
        with pytest.raises(Refused):
            complete(ours, foreign.end, role)
    matrix.fill(TABLE, foreign.name, foreign.version, role, "wrong password", "refused")


@pytest.mark.interop
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
def test_altered_data_is_refused_by_both_ends(foreign: Foreign, role: Theirs, password: str, matrix: Filler) -> None:
    ours = begin(foreign, role, password, password, "encrypt and sign")
    context = context_of(complete(ours, foreign.end, role))
    sealed = bytearray(context.wrap(b"altered on its way"))
    sealed[-1] ^= 1
    with pytest.raises(Refused):
        foreign.end.unwrap(bytes(sealed))
    sealed = bytearray(foreign.end.wrap(b"altered on its way"))
    sealed[-1] ^= 1
    with pytest.raises(BadSignature):
        context.unwrap(sealed)
    matrix.fill(TABLE, foreign.name, foreign.version, role, "altered data", "refused by both")


@pytest.mark.interop
def test_an_unknown_user_is_refused_like_a_wrong_password(foreign: Foreign, password: str, matrix: Filler) -> None:
    foreign.end.initiate(NAME, password, "host@files.example")
    ours = our_acceptor(password, mic=foreign.mic, name=f"{DOMAIN}\\bob")
    with pytest.raises(LogonDenied):
        complete(ours, foreign.end, "initiator")
    matrix.fill(TABLE, foreign.name, foreign.version, "initiator", "unknown user", "refused")


@pytest.mark.interop
def test_a_mic_is_demanded_unless_told_otherwise(foreign: Foreign, password: str, matrix: Filler) -> None:
    foreign.end.initiate(NAME, password, "host@files.example")
    ours = our_acceptor(password, mic="required")
    if foreign.name == MICLESS:
        with pytest.raises(Downgrade, match="sent no MIC"):
            complete(ours, foreign.end, "initiator")
        seen = "sends none: refused"
    else:
        complete(ours, foreign.end, "initiator")
        seen = "sends one: verified"
    matrix.fill(TABLE, foreign.name, foreign.version, "initiator", "MIC required", seen)


@pytest.mark.interop
@pytest.mark.parametrize("policy", BindingPolicy, ids=lambda policy: policy.value)
@pytest.mark.parametrize("bindings", BINDINGS)
def test_our_acceptor_judges_bindings_by_its_policy(
    foreign: Foreign, bindings: str, policy: BindingPolicy, password: str, matrix: Filler
) -> None:
    sent = {"right": GOOD, "wrong": EVIL, "missing": None}[bindings]
    foreign.end.initiate(NAME, password, "host@files.example", bindings=sent)
    ours = our_acceptor(password, mic=foreign.mic, bindings=GOOD, policy=policy)
    refused = (bindings == "wrong" and policy is not BindingPolicy.NEVER) or (
        bindings == "missing" and policy is BindingPolicy.ALWAYS
    )
    if refused:
        with pytest.raises(BadBindings):
            complete(ours, foreign.end, "initiator")
        seen = "refused"
    else:
        bound = context_of(complete(ours, foreign.end, "initiator")).bound
        assert bound is (bindings == "right" and policy is not BindingPolicy.NEVER)
        seen = "accepted, bound" if bound else "accepted, not bound"
    option = f"bindings {bindings}, policy {policy.value}"
    matrix.fill(TABLE, foreign.name, foreign.version, "initiator", option, seen)


@pytest.mark.interop
@pytest.mark.parametrize("bindings", BINDINGS)
def test_a_foreign_acceptor_judges_our_bindings(foreign: Foreign, bindings: str, password: str, matrix: Filler) -> None:
    sent = {"right": GOOD, "wrong": EVIL, "missing": None}[bindings]
    foreign.end.accept(bindings=GOOD)
    ours = our_initiator(password, level=Protection.ENCRYPT_AND_SIGN, bindings=sent)
    # pyspnego 0.12 refuses the absence of what it has itself; gss-ntlmssp 1.2.0 says nothing
    if bindings == "wrong" or (bindings == "missing" and foreign.name == "pyspnego"):
        with pytest.raises(Refused):
            complete(ours, foreign.end, "acceptor")
        seen = "refused"
    else:
        established = complete(ours, foreign.end, "acceptor")
        assert context_of(established).bound is (bindings == "right")
        seen = "accepted"
    matrix.fill(TABLE, foreign.name, foreign.version, "acceptor", f"bindings {bindings}", seen)
