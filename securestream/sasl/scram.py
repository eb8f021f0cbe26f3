"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): a password proved by both ends and told to neither.

The client refuses to be complete before the server proved that it holds the password's verifier. The server tells a
salt for every name, and judges bindings only after the proof (SECURITY rules 10 and 20).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

from securestream.credentials import Accounts, Credential, Password, find_form, join_name
from securestream.errors import (
    BadBindings,
    Downgrade,
    ErrorKind,
    HandshakeError,
    InvalidToken,
    LogonDenied,
    MalformedMessage,
    NoCredentials,
    NotAuthorized,
    PeerRefused,
    Unsupported,
    UsageError,
)
from securestream.logon import FindVerifier, VerifierLogon
from securestream.options import ContextFlags, Options, Role
from securestream.principal import unauthenticated
from securestream.provider import (
    Capability,
    Compute,
    Effect,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    TargetName,
    Unusable,
)
from securestream.redaction import Secret
from securestream.sasl.gs2 import PLUS, client_header, server_data
from securestream.sasl.mechanism import (
    Authorize,
    NoLayer,
    authorized,
    check_authzid,
    check_no_layer_wanted,
    mechanism_info,
    own_identity,
)
from securestream.sasl.scram_messages import (
    ClientFinal,
    ClientFirst,
    ServerFirst,
    read_error,
    read_server_final,
    server_error,
    server_final,
)
from securestream.saslprep import saslprep
from securestream.services.verifiers import SCRAM_SHA_256, ScramParameters, ScramVerifier

NAME: Final = "SCRAM-SHA-256"
LEAST_ITERATIONS: Final = 4096
"""What RFC 7677 4 asks of servers; a server that tells less makes the password easy to guess at."""
MOST_ITERATIONS: Final = 1_000_000
"""About half a second of work for a client."""

_SIZE: Final = 32
_NONCE: Final = 18
"""Octets of randomness in a nonce, which base64 writes as 24 characters."""
_HASHED: Final = "sha256"

_COMMENT: Final = "Salted challenge and response with SHA-256 (RFC 7677)"
_INFO: Final = {
    name: mechanism_info(name, _COMMENT, Capability.MUTUAL_AUTH | Capability.LOGON) for name in (NAME, NAME + PLUS)
}


@dataclass(frozen=True, kw_only=True)
class ScramSha256:
    """The SASL mechanism SCRAM-SHA-256, or SCRAM-SHA-256-PLUS, which binds to the TLS channel around it.

    A client has a `Password`, a server `Accounts` whose store keeps verifiers. Its layer is `NoLayer`.

    Args:
        plus: whether it binds to `Options.channel_bindings`.
        authzid: as whom a client wants to act; empty for itself.
        authorize: whether a server lets a client act as another identity that it asks for.
        least_iterations: a client refuses servers that tell fewer.
        most_iterations: a client refuses servers that tell more, before it computes them.

    Raises:
        UsageError: the authorisation identity cannot be sent.
    """

    plus: bool = False
    authzid: str = ""
    authorize: Authorize = own_identity
    least_iterations: int = LEAST_ITERATIONS
    most_iterations: int = MOST_ITERATIONS

    def __post_init__(self) -> None:
        check_authzid(self.authzid)

    @property
    def name(self) -> str:
        """The mechanism's name."""
        return NAME + PLUS if self.plus else NAME

    @property
    def info(self) -> PackageInfo:
        """What the mechanism is."""
        return _INFO[self.name]

    @property
    def client_first(self) -> bool:
        """The client speaks first."""
        return True

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        if role is Role.INITIATOR:
            return None if find_form(credential, Password) is not None else Unusable("a SCRAM client needs a Password")
        if find_form(credential, Accounts) is not None:
            return None
        return Unusable("a SCRAM server needs Accounts that keep verifiers of passwords")

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The client's handshake.

        Args:
            credential: a `Password`.
            target: not used: SCRAM names no server.
            options: what is wanted.

        Raises:
            InvalidToken: the server's messages do not belong to this exchange.
            LogonDenied: the server does not prove that it knows the password's verifier.
            PeerRefused: the server refused.
            QualityNotMet: a security layer is asked for.
        """
        return _initiate(self, credential, options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The server's handshake.

        Args:
            credential: `Accounts`.
            options: what is wanted.

        Raises:
            LogonDenied: no.
            BadBindings: the client is not at the other end of this channel.
            Downgrade: somebody removed the -PLUS from what this end offers.
            NotAuthorized: the client may not act as it asks.
            QualityNotMet: a security layer is asked for.
        """
        return _accept(self, credential, options)


def _initiate(mechanism: ScramSha256, credential: Credential | None, options: Options) -> Handshake:
    check_no_layer_wanted(mechanism.name, options)
    password = find_form(credential, Password)
    if password is None:
        raise NoCredentials("a SCRAM client needs a Password")
    header, data = client_header(mechanism.name, options, mechanism.authzid)
    first = ClientFirst.make(header, _prepared_user(password), _nonce(options))
    reply = yield from Exchange(first.pack())
    _check_error(reply)
    answer = ServerFirst.unpack(reply)
    _check_answer(mechanism, first, answer)
    salted = yield from _salted(_prepared_password(password), answer)
    unproven = ClientFinal.without_proof(header.pack() + data, answer.nonce)
    message = _auth_message(first, answer, unproven)
    proof, signature = _client_proof(salted, message)
    del salted, password, credential
    reply = yield from Exchange(ClientFinal.make(unproven, proof))
    _check_error(reply)
    if not hmac.compare_digest(read_server_final(reply, _SIZE), signature):
        raise LogonDenied("the server does not prove that it knows this password: it is not the server it should be")
    layer = NoLayer(
        mechanism.name, Role.INITIATOR, ContextFlags.MUTUAL, authzid=mechanism.authzid, bound=mechanism.plus
    )
    return Established(layer, unauthenticated(mechanism.name))


def _prepared_user(password: Password) -> str:
    """The name as sent: prepared (RFC 5802 5.1), with its domain as Windows writes it."""
    name = join_name(password.user, password.domain)
    try:
        prepared = saslprep(name)
    except MalformedMessage as error:
        raise UsageError(f"this user name cannot be used with SCRAM: {error}") from error
    if not prepared:
        raise UsageError("a SCRAM client needs a user name that is not empty once it is prepared by SASLprep")
    return prepared


def _prepared_password(password: Password) -> Secret[bytes]:
    try:
        return Secret(saslprep(password.password.reveal()).encode())
    except (MalformedMessage, UnicodeEncodeError):
        pass
    raise UsageError("this password has characters that SASLprep prohibits: SCRAM cannot use it")


def _nonce(options: Options) -> str:
    return base64.b64encode(options.random(_NONCE)).decode()


def _check_error(reply: bytes) -> None:
    """Tell what a server says instead of its message."""
    error = read_error(reply)
    if error is not None:
        kind = _TOLD.get(error, ErrorKind.LOGON_DENIED)
        shown = error if error in _TOLD or error in _REFUSALS else "other-error"
        raise PeerRefused(f"the SCRAM server refused ({shown}): {_ADVICE[kind]}", kind=kind)


_TOLD: Final = {
    "channel-bindings-dont-match": ErrorKind.BAD_BINDINGS,
    "server-does-support-channel-binding": ErrorKind.DOWNGRADE,
    "channel-binding-not-supported": ErrorKind.BAD_BINDINGS,
    "unsupported-channel-binding-type": ErrorKind.BAD_BINDINGS,
    "extensions-not-supported": ErrorKind.UNSUPPORTED,
    "no-resources": ErrorKind.LIMIT_EXCEEDED,
}
_REFUSALS: Final = frozenset(("invalid-proof", "unknown-user", "invalid-encoding", "invalid-username-encoding"))
_ADVICE: Final = {
    ErrorKind.BAD_BINDINGS: "it does not see the same TLS channel; somebody may stand between, or name another binding",
    ErrorKind.DOWNGRADE: "it offers channel binding, which did not reach this end: somebody altered its list",
    ErrorKind.UNSUPPORTED: "it does not know what this end asks for",
    ErrorKind.LIMIT_EXCEEDED: "try again later",
    ErrorKind.LOGON_DENIED: "check the user name and the password",
}


def _check_answer(mechanism: ScramSha256, first: ClientFirst, answer: ServerFirst) -> None:
    """The server's nonce continues ours, and its work is bounded in both directions (SECURITY rule 2)."""
    if not answer.nonce.startswith(first.nonce) or len(answer.nonce) == len(first.nonce):
        raise InvalidToken("the server's nonce does not continue this end's: the message is of another exchange")
    if answer.iterations < mechanism.least_iterations:
        raise Unsupported(
            f"the server asks for {answer.iterations} iterations, which makes the password easy to guess at: let it "
            f"keep verifiers of at least {mechanism.least_iterations}, or lower `least_iterations`"
        )
    if answer.iterations > mechanism.most_iterations:
        raise Unsupported(
            f"the server asks for {answer.iterations} iterations, more than the {mechanism.most_iterations} of "
            "`most_iterations`"
        )


def _salted(password: Secret[bytes], answer: ServerFirst) -> Generator[Effect[Any], Any, Secret[bytes]]:
    """SaltedPassword (RFC 5802 3), where there is time for it."""

    def work() -> Secret[bytes]:
        return Secret(hashlib.pbkdf2_hmac(_HASHED, password.reveal(), answer.salt, answer.iterations))

    return (yield from Compute(work))


def _auth_message(first: ClientFirst, answer: ServerFirst, unproven: str) -> bytes:
    return f"{first.bare},{answer.text},{unproven}".encode()


def _client_proof(salted: Secret[bytes], message: bytes) -> tuple[bytes, bytes]:
    """ClientProof, and the ServerSignature that is due (RFC 5802 3)."""
    client_key = hmac.digest(salted.reveal(), b"Client Key", _HASHED)
    server_key = hmac.digest(salted.reveal(), b"Server Key", _HASHED)
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, _HASHED)
    return _xor(client_key, signature), hmac.digest(server_key, message, _HASHED)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


# --- the server ------------------------------------------------------------------------------------------------------


def _accept(mechanism: ScramSha256, credential: Credential | None, options: Options) -> Handshake:
    check_no_layer_wanted(mechanism.name, options)
    if credential is None or find_form(credential, Accounts) is None:
        raise NoCredentials("a SCRAM server needs Accounts that keep verifiers of passwords")
    received = yield from Exchange()
    try:
        first = ClientFirst.unpack(received)
        user = _looked_up(first.user)
        data = server_data(mechanism.name, first.header, options)
        found = yield from FindVerifier(credential, user, SCRAM_SHA_256, "", options.source, options.clock())
        parameters = ScramParameters.unpack(found.parameters)
        answer = ServerFirst.make(first.nonce + _nonce(options), parameters.salt, parameters.iterations)
        received = yield from Exchange(answer.pack())
        final = ClientFinal.unpack(received, _SIZE)
        if not hmac.compare_digest(final.nonce.encode(), answer.nonce.encode()):
            raise InvalidToken("the client's nonce is not the one of this exchange")
        logon = VerifierLogon(
            credential,
            user,
            SCRAM_SHA_256,
            "",
            _Proof(final.proof, _auth_message(first, answer, final.unproven)),
            options.source,
            options.clock(),
            mechanism.name,
        )
        proved = yield from logon
        if not hmac.compare_digest(final.bound, first.header.pack() + data):
            raise BadBindings(
                "the client logged on over another TLS channel: somebody stands between",
                told=ErrorKind.LOGON_DENIED,
                token=server_error(_INVALID_PROOF),
            )
        authorized(proved.principal, first.header.authzid, mechanism.authorize)
    except (HandshakeError, MalformedMessage) as error:
        raise _with_message(error) from error
    layer = NoLayer(
        mechanism.name, Role.ACCEPTOR, ContextFlags.MUTUAL, authzid=first.header.authzid, bound=mechanism.plus
    )
    return Established(layer, proved.principal, server_final(proved.proof))


def _looked_up(user: str) -> str:
    """The name under which the account is found (RFC 5802 5.1)."""
    prepared = saslprep(user)
    if not prepared:
        raise MalformedMessage("SCRAM: the user's name is empty")
    return prepared


class _Proof:
    """Tests a verifier: gives the ServerSignature where the client's proof fits it.

    Args:
        proof: the client's.
        message: what is proved.
    """

    def __init__(self, proof: bytes, message: bytes) -> None:
        self._proof = proof
        self._message = message

    def __call__(self, octets: bytes) -> bytes | None:
        verifier = ScramVerifier.unpack(octets)
        signature = hmac.digest(verifier.stored_key, self._message, _HASHED)
        stored = hashlib.sha256(_xor(self._proof, signature)).digest()
        own = hmac.digest(verifier.server_key, self._message, _HASHED)
        return own if hmac.compare_digest(stored, verifier.stored_key) else None


_INVALID_PROOF: Final = "invalid-proof"


def _with_message(error: HandshakeError | MalformedMessage) -> HandshakeError:
    """The same failure with what SCRAM tells a client of it (``server-error``); refused logons all read the same."""
    if isinstance(error, MalformedMessage):
        failure: HandshakeError = InvalidToken(f"the client's message is malformed: {error}")
    else:
        failure = error
    if failure.token is None:
        value = next((value for kind, value in _ERRORS.items() if isinstance(failure, kind)), "other-error")
        failure.token = server_error(value)
    return failure


_ERRORS: Final[dict[type[HandshakeError], str]] = {
    LogonDenied: _INVALID_PROOF,
    NotAuthorized: "other-error",
    Downgrade: "server-does-support-channel-binding",
    BadBindings: "unsupported-channel-binding-type",
    Unsupported: "extensions-not-supported",
    InvalidToken: "invalid-encoding",
}
