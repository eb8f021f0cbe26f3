"""The logon effect: which responses a local store admits, what pass-through sees, who performs it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securestream.credentials import Accounts, Anonymous, Credentials, NtHash, Password
from securestream.drive import Services, respond, respond_blocking
from securestream.errors import InvalidToken, LogonDenied, NoCredentials, ServiceFailed, UsageError
from securestream.machine import HandshakeMachine
from securestream.options import Role
from securestream.principal import Principal
from securestream.redaction import Secret
from securestream_providers.ntlm import LogonResult, Ntlm, NtlmLogon, ResponseKind, crypto
from securestream_providers.ntlm.initiator import identify
from securestream_providers.ntlm.logon import verify_locally
from securestream_providers.ntlm.messages import AvId, ClientChallenge, pack_pairs
from tests.providers.ntlm.ends import ALICE, NOW, PASSWORD, TARGET, handshake, options, store

SC = b"srvchall"
HASH = crypto.nt_hash(PASSWORD)
LM = crypto.lm_hash(PASSWORD) or b""
KEY = crypto.keyed_md5(crypto.ntowf_v2(HASH, "alice", "CORP"))


def _logon(lm: bytes, nt: bytes, **more: object) -> NtlmLogon:
    logon = NtlmLogon(Accounts(store()), "alice", "CORP", "WS", SC, lm, nt, False, 0, "192.0.2.1", NOW)
    return replace(logon, **more)  # type: ignore[arg-type]  # each test names fields of the effect


def _v2() -> tuple[bytes, bytes]:
    blob = ClientChallenge(1, 1, 0, 0, 0, b"clientch", 0, pack_pairs(((AvId.SINGLE_HOST, bytes(48)),))).pack()
    proof, session = crypto.proof_v2(KEY, SC, blob)
    return proof + blob, session


LM_V2 = crypto.proof_v2(KEY, SC, b"clientch")[0] + b"clientch"
CASES = {
    ResponseKind.NTLM_V2: (bytes(24), _v2()[0], False),
    ResponseKind.LM_V2: (LM_V2, b"", False),
    ResponseKind.NTLM_V1: (bytes(24), crypto.desl(HASH, SC), False),
    ResponseKind.NTLM_V1_EXTENDED: (
        b"clientch" + bytes(16),
        crypto.desl(HASH, crypto.ess_challenge(SC, b"clientch")),
        True,
    ),
    ResponseKind.LM_V1: (crypto.desl(LM, SC), b"", False),
}
HIGHEST = {
    ResponseKind.NTLM_V2: 5,
    ResponseKind.LM_V2: 5,
    ResponseKind.NTLM_V1: 4,
    ResponseKind.NTLM_V1_EXTENDED: 4,
    ResponseKind.LM_V1: 3,
}


@pytest.mark.parametrize("level", range(6))
@pytest.mark.parametrize("kind", CASES)
def test_a_response_is_admitted_up_to_its_level(kind: ResponseKind, level: int) -> None:
    lm, nt, extended = CASES[kind]
    logon = _logon(lm, nt, extended=extended, level=level)
    if level <= HIGHEST[kind]:
        result = verify_locally(logon)
        assert (result.kind, result.principal.name) == (kind, "alice")
        assert len(result.session_base_key.reveal()) == 16
    else:
        with pytest.raises(LogonDenied):
            verify_locally(logon)


@pytest.mark.parametrize("kind", CASES)
def test_one_altered_octet_of_any_response_is_refused(kind: ResponseKind) -> None:
    lm, nt, extended = CASES[kind]
    response = nt or lm
    for at in range(len(response)):
        altered = response[:at] + bytes((response[at] ^ 0x80,)) + response[at + 1 :]
        with pytest.raises(LogonDenied):
            verify_locally(_logon(lm if nt else altered, altered if nt else b"", extended=extended))


def test_the_user_is_compared_in_upper_case_and_the_domain_as_sent() -> None:
    nt = _v2()[0]
    assert verify_locally(_logon(b"", nt, user="ALICE")).principal.name == "alice"
    with pytest.raises(LogonDenied):
        verify_locally(_logon(b"", nt, domain="corp"))


def test_upper_case_is_that_of_windows() -> None:
    """One character for one: the full mapping of Unicode would make an eszett two letters."""
    assert crypto.upper("straße") == "STRAßE"
    assert crypto.upper("ωmega") == "ΩMEGA"
    assert crypto.upper("ﬁle") == "ﬁLE"


def test_an_lm_response_is_refused_where_the_store_keeps_no_lm_hash() -> None:
    lm, nt, _ = CASES[ResponseKind.LM_V1]
    with pytest.raises(LogonDenied):
        verify_locally(_logon(lm, nt, credential=Accounts(store(lm=False))))


def test_passwords_without_an_lm_hash() -> None:
    assert crypto.lm_hash("x" * 15) is None
    assert crypto.lm_hash("日本") is None
    assert crypto.lm_hash("x" * 14) is not None


def test_a_logon_shows_no_octets() -> None:
    logon = _logon(bytes(24), _v2()[0])
    assert repr(_v2()[0]) not in repr(logon)
    assert "24 octets" in repr(logon)
    assert "Secret(...)" in repr(verify_locally(logon))


def test_the_acceptor_needs_accounts() -> None:
    with pytest.raises(NoCredentials):
        verify_locally(_logon(b"", b"", credential=Anonymous()))
    assert Ntlm().usable(None, Role.ACCEPTOR) is not None
    assert Ntlm().usable(ALICE, Role.ACCEPTOR) is not None
    assert Ntlm().usable(Accounts(store()), Role.ACCEPTOR) is None


@pytest.mark.parametrize("credential", [None, Accounts(store())])
def test_the_initiator_needs_a_password_a_hash_or_nobody(credential: Accounts | None) -> None:
    assert Ntlm().usable(credential, Role.INITIATOR) is not None
    with pytest.raises(NoCredentials):
        HandshakeMachine(Ntlm().initiate(credential, TARGET, options())).step()
    for good in (ALICE, NtHash("alice", HASH), Anonymous(), Credentials(Accounts(store()), ALICE)):
        assert Ntlm().usable(good, Role.INITIATOR) is None


def test_level_0_contradicts_extended_security() -> None:
    assert Ntlm(level=0).usable(ALICE, Role.INITIATOR) is not None
    assert Ntlm(level=0, extended_security="off").usable(ALICE, Role.INITIATOR) is None


def test_a_domain_can_answer_by_pass_through() -> None:
    """The performer sees challenge and response; the hash stays where it is."""
    seen: list[NtlmLogon] = []

    async def domain(logon: NtlmLogon) -> LogonResult:
        raise AssertionError("the blocking form is asked here")

    def blocking(logon: NtlmLogon) -> LogonResult:
        seen.append(logon)
        key, _ = Secret(verify_locally(replace(logon, credential=Accounts(store()))).session_base_key.reveal()), None
        return LogonResult(key, Principal("alice", "NTLM", "DOMAIN"))

    services = Services()
    services.register(NtlmLogon, domain, blocking=blocking)
    acceptor = HandshakeMachine(Ntlm().accept(Anonymous(), options(2)))
    initiator = HandshakeMachine(Ntlm(workstation="WS1").initiate(ALICE, TARGET, options(1)))
    respond_blocking(acceptor, services=services)
    challenge = respond_blocking(acceptor, initiator.step().token, services).token
    ended = initiator.step(challenge)
    accepted = respond_blocking(acceptor, ended.token, services)
    assert accepted.established is not None
    assert accepted.established.peer.authority == "DOMAIN"
    assert (seen[0].user, seen[0].domain, seen[0].workstation, seen[0].source) == ("alice", "CORP", "WS1", "192.0.2.1")


def test_a_store_that_fails_ends_the_handshake() -> None:
    class Broken:
        blocking = False
        decoy = Secret(bytes(16))

        def find(self, *_: object) -> None:
            raise OSError("the disk is gone")

        throttled = failed = succeeded = find

    with pytest.raises(ServiceFailed):
        handshake(accounts=Accounts(Broken()))  # type: ignore[arg-type]  # only what is called is there


@pytest.mark.anyio
@pytest.mark.parametrize("blocking", [False, True])
async def test_logons_are_performed_on_both_event_loops(blocking: bool) -> None:
    accounts = store()
    accounts.blocking = blocking
    acceptor = HandshakeMachine(Ntlm().accept(Accounts(accounts), options(2)))
    initiator = HandshakeMachine(Ntlm().initiate(ALICE, TARGET, options(1)))
    await respond(acceptor)
    challenge = (await respond(acceptor, initiator.step().token)).token
    accepted = await respond(acceptor, initiator.step(challenge).token)
    assert accepted.established is not None
    assert accepted.established.peer.name == "alice"


def test_keys_of_a_credential_are_computed_once() -> None:
    credential = Password(r"CORP\bob", "x")
    first = identify(credential)
    assert first is identify(credential)
    assert first is identify(Password(r"CORP\bob", "x"))
    assert identify(Anonymous()) is None


@pytest.mark.parametrize(("nt", "lm"), [(1, 0), (23, 24), (25, 24), (43, 24), (0, 23), (0, 2)])
def test_responses_of_impossible_lengths_are_malformed(nt: int, lm: int) -> None:
    from tests.providers.ntlm.ends import HandMade

    client = HandMade(more={"nt_response": bytes(nt), "lm_response": bytes(lm)})
    with pytest.raises(InvalidToken):
        client.logon(Ntlm(mic="optional", level=0))


@pytest.mark.parametrize(
    "arguments",
    [
        {"level": 6},
        {"key_bits": ()},
        {"key_bits": (64,)},
        {"spn": "required"},
        {"unicode": False},
        {"oem": "no such codec"},
        {"datagram": True, "key_exchange": "off"},
    ],
)
def test_arguments_that_contradict_each_other(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Ntlm(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_the_package_as_windows_lists_it() -> None:
    info = Ntlm().info
    assert (info.name, info.rpc_id, info.max_token) == ("NTLM", 10, 2888)
    assert info.oids == ("1.3.6.1.4.1.311.2.2.10",)
    assert info.capabilities.value == 0x82B37
