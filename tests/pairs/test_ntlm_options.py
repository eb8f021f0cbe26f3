"""NTLM against itself in every combination of its options: levels, keys, character sets, protection, datagrams."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from securestream.credentials import Accounts, Anonymous, Credential, NtHash, Password
from securestream.errors import BadSignature, Downgrade, LogonDenied, Unsupported
from securestream.options import ContextFlags, Protection
from securestream.provider import Cover, SecurityContext
from securestream_providers.ntlm import Ntlm, ServerNames, crypto
from securestream_providers.ntlm.messages import Authenticate, AvId, Challenge, Flag, unpack_pairs
from tests.providers.ntlm.ends import ALICE, AUTHENTICATE, BINDINGS, PASSWORD, TARGET, Ends, handshake, options, store

LEVELS = range(6)
Switch = Literal["required", "off"]


def _package(**arguments: Any) -> Ntlm:
    return Ntlm(mic="optional" if arguments.get("level", 5) < 3 else "required", **arguments)


def _exchange(sender: SecurityContext, receiver: SecurityContext, protection: Protection) -> None:
    """Tokens of every kind, numbered across kinds."""
    encrypt = protection is Protection.ENCRYPT_AND_SIGN
    for size in (0, 1, 7, 100, 16384, 70000):
        data = bytes(range(256)) * (size // 256 + 1)
        token = sender.wrap(data[:size], encrypt=encrypt)
        assert len(token) == size + sender.sizes.wrap_overhead
        if encrypt and size > 7:
            assert data[:8] not in token
        assert receiver.unwrap(token) == (data[:size], encrypt)
        receiver.verify(data[:size], sender.sign(data[:size]))


def _combinations() -> Iterator[Any]:
    strengths = ((128,), (56,), (40,), (128, 56, 40))
    switches: tuple[Switch, ...] = ("required", "off")
    for level, exchange, bits, extended, oem, protection in itertools.product(
        LEVELS, switches, strengths, switches, (None, "cp850"), Protection
    ):
        if level == 0 and extended == "required":
            continue  # LmCompatibilityLevel 0 excludes it
        yield pytest.param(
            {"level": level, "key_exchange": exchange, "key_bits": bits, "extended_security": extended},
            oem,
            protection,
            id=f"{level}-{exchange}-{'+'.join(map(str, bits))}-ess_{extended}-{oem or 'unicode'}-{protection.name}",
        )


@pytest.mark.parametrize(("arguments", "oem", "protection"), list(_combinations()))
def test_combination(arguments: dict[str, Any], oem: str | None, protection: Protection) -> None:
    package = _package(unicode=oem is None, oem=oem, **arguments)
    ends = handshake(
        package,
        package,
        client_options=options(1, protection=protection),
        server_options=options(2, protection=protection),
    )
    assert ends.peer.name == "alice"
    assert ends.initiator.session_key == ends.acceptor.session_key
    assert ends.initiator.flags == ends.acceptor.flags
    assert (ContextFlags.INTEGRITY in ends.acceptor.flags) is (protection is not Protection.NONE)
    assert (ContextFlags.CONFIDENTIALITY in ends.acceptor.flags) is (protection is Protection.ENCRYPT_AND_SIGN)
    flags = Authenticate.unpack(ends.tokens[AUTHENTICATE]).flags
    assert bool(flags & Flag.KEY_EXCH) is (
        arguments["key_exchange"] == "required" and protection is not Protection.NONE
    )
    assert bool(flags & Flag.EXTENDED_SESSION_SECURITY) is (arguments["extended_security"] == "required")
    assert crypto.key_bits(flags) == max(arguments["key_bits"])
    assert bool(flags & Flag.UNICODE) is (oem is None)
    assert ends.acceptor.needs_negotiation_mic is (arguments["level"] >= 3)
    _exchange(ends.initiator, ends.acceptor, protection)
    _exchange(ends.acceptor, ends.initiator, protection)
    _exchange(ends.initiator, ends.acceptor, protection)


@pytest.mark.parametrize(
    ("client", "extended"),
    [(level, extended) for level in LEVELS for extended in ("required", "off") if level or extended == "off"],
)
@pytest.mark.parametrize("server", LEVELS)
def test_levels_against_each_other(client: int, server: int, extended: Switch) -> None:
    """An acceptor takes NTLMv2 at every level, NTLMv1 up to 4; levels 0 and 1 send an LM response beside it."""
    initiator = Ntlm(level=client, extended_security=extended)
    acceptor = Ntlm(level=server, extended_security=extended, mic="optional")
    if client < 3 and server == 5:
        with pytest.raises((LogonDenied, Downgrade)):
            handshake(initiator, acceptor)
        return
    ends = handshake(initiator, acceptor)
    message = Authenticate.unpack(ends.tokens[AUTHENTICATE])
    assert len(message.lm_response) == 24
    if client >= 3:
        assert message.lm_response == bytes(24)
    elif extended == "required":
        assert message.lm_response[8:] == bytes(16)
    else:
        assert (message.lm_response == message.nt_response) is (client == 2)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_lm_session_keys(level: int) -> None:
    package = Ntlm(level=level, mic="optional", extended_security="off", lm_keys=True, key_bits=(56,))
    ends = handshake(package, package)
    assert Authenticate.unpack(ends.tokens[AUTHENTICATE]).flags & Flag.LM_KEY
    _exchange(ends.initiator, ends.acceptor, Protection.ENCRYPT_AND_SIGN)
    with pytest.raises(Unsupported, match="LM hash"):
        handshake(package, package, accounts=Accounts(store(lm=False)))


def test_lm_keys_are_not_agreed_beside_extended_security() -> None:
    package = Ntlm(extended_security="optional", lm_keys=True)
    flags = Authenticate.unpack(handshake(package, package).tokens[AUTHENTICATE]).flags
    assert not flags & (Flag.LM_KEY | Flag.REQUEST_NON_NT_SESSION_KEY)


@pytest.mark.parametrize("level", [3, 5])
@pytest.mark.parametrize("extended", ["required", "off"])
@pytest.mark.parametrize("bits", [(128,), (56,), (40,)])
def test_datagrams(level: int, extended: Switch, bits: tuple[int, ...]) -> None:
    """The acceptor speaks first; messages are numbered by the application and stand alone."""
    package = Ntlm(level=level, datagram=True, extended_security=extended, key_bits=bits)
    ends = handshake(package, package)
    assert ContextFlags.DATAGRAM in ends.acceptor.flags
    assert ContextFlags.SEQUENCE not in ends.acceptor.flags
    parts = [(b"head", Cover.SIGNED), (b"secret body", Cover.SEALED), (b"free", Cover.UNTOUCHED)]
    messages = {number: ends.initiator.seal(parts, sequence=number) for number in (5, 9, 7)}
    damaged = messages[9].signature[:-8] + b"\xff" + messages[9].signature[-7:]
    for number in (9, 5, 7, 7):
        sealed = messages[number]
        received = [(octets, cover) for octets, (_, cover) in zip(sealed.parts, parts, strict=True)]
        assert sealed.parts[0] == b"head"
        assert sealed.parts[1] != b"secret body"
        with pytest.raises(BadSignature):
            ends.acceptor.unseal(received, damaged, sequence=9)
        opened = ends.acceptor.unseal(received, sealed.signature, sequence=number)
        assert opened == (b"head", b"secret body", b"free")


def test_datagram_ends_do_not_meet_connection_ends() -> None:
    with pytest.raises(Unsupported, match="datagram"):
        handshake(Ntlm(datagram=True), Ntlm(datagram=True), alter=_connection_oriented)


def _connection_oriented(number: int, token: bytes) -> bytes:
    flags = int.from_bytes(token[20:24], "little") & ~Flag.DATAGRAM
    return token[:20] + flags.to_bytes(4, "little") + token[24:] if number == 1 else token


@pytest.mark.parametrize(
    "credential",
    [ALICE, Password("alice", PASSWORD), NtHash(r"CORP\ALICE", crypto.nt_hash(PASSWORD))],
    ids=["domain", "no-domain", "hash"],
)
@pytest.mark.parametrize("level", [2, 5])
def test_credentials(credential: Credential, level: int) -> None:
    package = _package(level=level)
    assert handshake(package, package, credential=credential).peer.name == "alice"


@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize("exchange", ["required", "off"])
def test_anonymous(protection: Protection, exchange: Switch) -> None:
    """Both ends agree on keys, and neither claims that they protect anything."""
    package = Ntlm(allow_anonymous=True, key_exchange=exchange)
    ends = handshake(package, package, credential=Anonymous(), client_options=options(1, protection=protection))
    assert ends.peer.is_anonymous
    assert ends.acceptor.flags == ContextFlags.ANONYMOUS | ContextFlags.IDENTIFY
    _exchange(ends.initiator, ends.acceptor, protection)


def test_the_challenge_carries_the_names_of_a_domain_member() -> None:
    names = ServerNames(
        computer="FILES",
        domain="CORP",
        dns_computer="files.corp.example",
        dns_domain="corp.example",
        dns_tree="example",
    )
    ends = handshake(server=Ntlm(names=names))
    challenge = Challenge.unpack(ends.tokens[1])
    pairs = dict(unpack_pairs(challenge.target_info or b"", 64))
    assert challenge.target_name.decode("utf-16-le") == "CORP"
    assert {identifier: value.decode("utf-16-le") for identifier, value in pairs.items() if identifier <= 5} == {
        AvId.NB_DOMAIN_NAME: "CORP",
        AvId.NB_COMPUTER_NAME: "FILES",
        AvId.DNS_DOMAIN_NAME: "corp.example",
        AvId.DNS_COMPUTER_NAME: "files.corp.example",
        AvId.DNS_TREE_NAME: "example",
    }


def test_bindings_and_target_with_everything_else() -> None:
    ends: Ends = handshake(
        server=Ntlm(spn="required", served=(TARGET,)),
        client_options=options(1, bindings=BINDINGS),
        server_options=options(2, bindings=BINDINGS),
    )
    assert ends.initiator.bound
    assert ends.acceptor.bound


def test_a_user_name_beyond_the_code_page_needs_unicode() -> None:
    accounts = store()
    accounts.add("Ωmega", PASSWORD)
    credential = Password("ωmega", PASSWORD)
    assert handshake(credential=credential, accounts=Accounts(accounts)).peer.name == "Ωmega"
