"""CredSSP with FreeRDP: xfreerdp logs on at our server, our client at freerdp-shadow-cli ([MS-CSSP]; SECURITY 21)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import ModuleType

import anyio
import pytest
from anyio import to_thread
from anyio.abc import ByteStream

from examples.rdp_nla import Gateway, acceptors, serve_one
from securestream.credentials import Credential, NtHash, Password
from securestream.errors import BadBindings, CertificateRejected, LogonDenied, NotAuthorized, PeerGone, PeerRefused
from securestream.provider import Established
from securestream.services.nt_hash import nt_hash
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.schannel import Schannel
from tests.certificates import Pair
from tests.interop.credssp_ends import (
    ALICE,
    CA,
    CONNECT_INITIAL,
    CONNECT_RESPONSE,
    CURVE,
    DOMAIN,
    HOST,
    LEAF,
    OTHER,
    PASSWORD,
    USER,
    Taken,
    acceptor,
    begins_with,
    between,
    initiator,
    listening,
    logged_on,
    server,
    serving,
    visited,
)
from tests.interop.expected_credssp import CREDSSP, VERSIONS, WITH_ERROR
from tests.interop.matrix import Filler
from tests.interop.peers import freerdp
from tests.interop.peers.freerdp import Shadow, Visit

pytestmark = pytest.mark.interop

CLIENT, SERVER = "xfreerdp", "freerdp-shadow-cli"
OURS = Password(ALICE, PASSWORD)
AT_ONCE = 8

Seen = tuple[Taken, Visit]
Visiting = Callable[[Mapping[str, str]], Awaitable[Seen]]


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of FreeRDP."""
    return require(freerdp)


@pytest.fixture(scope="module")
def environment(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where FreeRDP has an X server, and a home."""
    with freerdp.display(tmp_path_factory.mktemp("display")) as made:
        yield made


def visiting(
    package: CredSsp, *options: str, password: str | bytes = PASSWORD, user: str = USER, own: Pair = LEAF
) -> Visiting:
    """A logon of xfreerdp at our server."""

    async def visit(environment: Mapping[str, str]) -> Seen:
        async with serving(package, server(own)) as desk:
            return await visited(desk, desk.port, environment, *options, password=password, user=user)

    return visit


def refuse(outcome: Established) -> None:
    """Admits nobody, before anything is delegated."""
    assert outcome.delegated is None
    raise NotAuthorized(f"{outcome.peer} may not log on here")


def refused(package: CredSsp) -> Visiting:
    """A logon of xfreerdp with the right password, by a user who is not admitted."""

    async def visit(environment: Mapping[str, str]) -> Seen:
        async with serving(package, server(), admit=refuse) as desk:
            return await visited(desk, desk.port, environment)

    return visit


def visiting_between(package: CredSsp) -> Visiting:
    """A logon of xfreerdp at our server, through a man in the middle, whose certificate it takes for ours."""

    async def visit(environment: Mapping[str, str]) -> Seen:
        async with serving(package, server()) as desk, between(desk.port) as man:
            seen = await visited(desk, man.port, environment)
            assert man.seen["to server"]
            assert man.credentials_seen() == 0
            return seen

    return visit


CASES: dict[str, Visiting] = {
    **{f"version {number}": visiting(acceptor(number)) for number in VERSIONS},
    **{f"version {number}, wrong password": visiting(acceptor(number), password="wrong") for number in VERSIONS},
    **{f"version {number}, man in the middle": visiting_between(acceptor(number)) for number in (6, 2)},
    "unknown user": visiting(acceptor(), user="mallory"),
    "TLSv1.2": visiting(acceptor(tls=Schannel(maximum_version="TLSv1.2"))),
    "key on a curve": visiting(acceptor(), own=CURVE),
    "restricted admin": visiting(acceptor(restricted_admin=True), "/restricted-admin"),
    "restricted admin by NT hash": visiting(
        acceptor(restricted_admin=True), "/restricted-admin", password=nt_hash(PASSWORD)
    ),
    "restricted admin, refused": visiting(acceptor(), "/restricted-admin"),
    **{f"version {number}, not admitted": refused(acceptor(number)) for number in VERSIONS},
}


@pytest.fixture(scope="module")
def visits(environment: dict[str, str]) -> dict[str, Seen]:
    """All of `CASES`, a few at a time: most of xfreerdp's time is waiting."""
    seen: dict[str, Seen] = {}

    async def visit(case: str, limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            seen[case] = await CASES[case](environment)

    async def visit_all() -> None:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for case in CASES:
                tasks.start_soon(visit, case, limiter)

    anyio.run(visit_all)
    return seen


@pytest.fixture(scope="module")
def shadow(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shadow]:
    """FreeRDP's server."""
    with freerdp.shadow(tmp_path_factory.mktemp("shadow"), environment, LEAF, {(DOMAIN, USER): PASSWORD}) as running:
        yield running


# --- xfreerdp at our server ---


@pytest.mark.parametrize("case", [*(f"version {number}" for number in VERSIONS), "TLSv1.2", "key on a curve"])
def test_xfreerdp_logs_on_and_delegates(visits: dict[str, Seen], case: str, version: str, matrix: Filler) -> None:
    taken, _ = visits[case]
    assert taken.error is None
    assert taken.peer == rf"{ALICE} by NTLM"
    assert taken.delegated == OURS
    assert taken.version == ("TLSv1.2" if case == "TLSv1.2" else "TLSv1.3")
    assert begins_with(taken.went_on, CONNECT_INITIAL)
    matrix.fill(CREDSSP, CLIENT, version, "initiator", case, "password delegated, MCS Connect-Initial follows")


@pytest.mark.parametrize("number", VERSIONS)
def test_xfreerdp_with_a_wrong_password_is_refused(
    visits: dict[str, Seen], number: int, version: str, matrix: Filler
) -> None:
    case = f"version {number}, wrong password"
    taken, visit = visits[case]
    assert isinstance(taken.error, LogonDenied)
    assert taken.delegated is None
    assert visit.status
    told = visit.error == "ERRCONNECT_LOGON_FAILURE"
    assert told == (number in WITH_ERROR), visit.said
    matrix.fill(CREDSSP, CLIENT, version, "initiator", case, "refused and told" if told else "refused, not told")


def test_an_unknown_user_of_xfreerdp_is_refused_alike(visits: dict[str, Seen], version: str, matrix: Filler) -> None:
    (taken, visit), (other, wrong) = visits["unknown user"], visits["version 6, wrong password"]
    assert isinstance(taken.error, LogonDenied)
    assert str(taken.error) == str(other.error)
    assert visit.error == wrong.error
    matrix.fill(CREDSSP, CLIENT, version, "initiator", "unknown user", "refused as for a wrong password")


@pytest.mark.parametrize("case", ["restricted admin", "restricted admin by NT hash"])
def test_xfreerdp_in_restricted_admin_mode_delegates_nothing(
    visits: dict[str, Seen], case: str, version: str, matrix: Filler
) -> None:
    taken, _ = visits[case]
    assert taken.error is None
    assert taken.delegated is None
    assert taken.peer == rf"{ALICE} by NTLM"
    matrix.fill(CREDSSP, CLIENT, version, "initiator", case, "logged on, nothing delegated")


def test_restricted_admin_mode_is_refused_unless_named(visits: dict[str, Seen], version: str, matrix: Filler) -> None:
    taken, visit = visits["restricted admin, refused"]
    assert isinstance(taken.error, NotAuthorized)
    assert visit.status
    matrix.fill(CREDSSP, CLIENT, version, "initiator", "restricted admin, refused", "refused")


@pytest.mark.parametrize("number", VERSIONS)
def test_xfreerdp_with_a_user_who_is_not_admitted_is_refused(
    visits: dict[str, Seen], number: int, version: str, matrix: Filler
) -> None:
    """By an error code, before it delegates; FreeRDP 2 offers the early verdict and cannot go on where it is chosen."""
    case = f"version {number}, not admitted"
    taken, visit = visits[case]
    assert isinstance(taken.error, NotAuthorized)
    assert visit.status
    told = visit.error == "ERRCONNECT_ACCESS_DENIED"
    assert told == (number in WITH_ERROR), visit.said
    matrix.fill(CREDSSP, CLIENT, version, "initiator", case, "refused and told" if told else "refused, not told")


@pytest.mark.parametrize("number", [6, 2])
def test_our_server_notices_who_opens_tls_on_the_way(
    visits: dict[str, Seen], number: int, version: str, matrix: Filler
) -> None:
    case = f"version {number}, man in the middle"
    taken, visit = visits[case]
    assert isinstance(taken.error, BadBindings)
    assert "TLS key" in str(taken.error)
    assert visit.status
    matrix.fill(CREDSSP, CLIENT, version, "initiator", case, "refused, no credentials passed")


# --- our client at freerdp-shadow-cli ---


def ask(shadow: Shadow, package: CredSsp, went_on: bytes, credential: Credential = OURS) -> bytes:
    """Log on at FreeRDP's server, go on as xfreerdp did, and give the answer."""

    async def asking() -> bytes:
        with anyio.fail_after(freerdp.TIMEOUT):
            async with await logged_on(shadow.port, credential, package) as stream:
                await stream.send(went_on)
                return await stream.receive()

    return anyio.run(asking, backend="trio")


@pytest.fixture(scope="module")
def went_on(visits: dict[str, Seen]) -> bytes:
    """How xfreerdp goes on after its logon."""
    return visits["version 6"][0].went_on


@pytest.mark.parametrize("number", VERSIONS)
def test_our_client_logs_on(shadow: Shadow, went_on: bytes, number: int, version: str, matrix: Filler) -> None:
    assert begins_with(ask(shadow, initiator(number), went_on), CONNECT_RESPONSE)
    seen = "logged on, MCS Connect-Response follows"
    matrix.fill(CREDSSP, SERVER, version, "acceptor", f"version {number}", seen)


def test_our_client_logs_on_in_tls_1_2(shadow: Shadow, went_on: bytes, version: str, matrix: Filler) -> None:
    package = initiator(tls=Schannel(trust=CA.pem, maximum_version="TLSv1.2"))
    assert begins_with(ask(shadow, package, went_on), CONNECT_RESPONSE)
    matrix.fill(CREDSSP, SERVER, version, "acceptor", "TLSv1.2", "logged on, MCS Connect-Response follows")


@pytest.mark.parametrize(
    ("option", "credential"),
    [("restricted admin", OURS), ("restricted admin by NT hash", NtHash(ALICE, nt_hash(PASSWORD)))],
)
def test_our_client_delegates_nothing_in_restricted_admin_mode(
    shadow: Shadow, went_on: bytes, option: str, credential: Credential, version: str, matrix: Filler
) -> None:
    assert begins_with(ask(shadow, initiator(restricted_admin=True), went_on, credential), CONNECT_RESPONSE)
    matrix.fill(CREDSSP, SERVER, version, "acceptor", option, "logged on, nothing delegated")


@pytest.mark.parametrize(
    ("option", "credential"),
    [("wrong password", Password(ALICE, "wrong")), ("unknown user", Password(rf"{DOMAIN}\mallory", PASSWORD))],
)
def test_our_client_is_refused(
    shadow: Shadow, went_on: bytes, option: str, credential: Credential, version: str, matrix: Filler
) -> None:
    with pytest.raises((PeerRefused, PeerGone)) as refused:
        ask(shadow, initiator(), went_on, credential)
    matrix.fill(CREDSSP, SERVER, version, "acceptor", option, f"refused: {type(refused.value).__name__}")


def test_our_client_does_not_go_on_with_an_unknown_certificate(shadow: Shadow, version: str, matrix: Filler) -> None:
    with pytest.raises(CertificateRejected):
        ask(shadow, initiator(tls=Schannel(trust=OTHER.pem)), b"")
    matrix.fill(CREDSSP, SERVER, version, "acceptor", "certificate of another authority", "refused by us")


def test_our_client_delegates_nothing_to_who_opens_tls_on_the_way(shadow: Shadow, version: str, matrix: Filler) -> None:
    package = initiator(
        tls=Schannel(verify="none"), delegation=Delegation("*", unproven_hosts="accepted")
    )  # the weakest that can be asked for

    async def asking() -> None:
        async with between(shadow.port) as man:
            with anyio.fail_after(freerdp.TIMEOUT), pytest.raises((PeerRefused, PeerGone)):
                await logged_on(man.port, OURS, package)
            assert man.seen["to client"]
            assert man.credentials_seen() == 0

    anyio.run(asking)
    shadow.wait_for("could not verify client's public key")
    matrix.fill(CREDSSP, SERVER, version, "acceptor", "man in the middle", "refused, no credentials passed")


# --- both ---


def test_a_session_through_our_gateway_by_delegated_credentials(
    shadow: Shadow,
    environment: dict[str, str],
    version: str,
    matrix: Filler,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gateway = Gateway(HOST, shadow.port, Schannel(trust=CA.pem), bare=True)

    async def pass_on() -> Visit:
        packages = acceptors()

        async def handle(transport: ByteStream) -> None:
            await serve_one(transport, server(), packages, gateway)

        async with listening(handle) as port:
            return await to_thread.run_sync(freerdp.visit, port, USER, PASSWORD, environment)

    visit = anyio.run(pass_on)
    assert visit.status == 0, visit.said
    assert f"delegating the password of {ALICE}" in capfd.readouterr().out
    assert "CONNECTION_STATE_ACTIVE" in visit.said
    for peer, role in ((CLIENT, "initiator"), (SERVER, "acceptor")):
        matrix.fill(CREDSSP, peer, version, role, "gateway", "a session stands")
