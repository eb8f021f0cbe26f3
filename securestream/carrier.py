"""One handshake over one framing, without I/O: which frame goes out at which step, and what a received frame means.

Shared by all drivers of streams, asynchronous and blocking. A driver does nothing but move octets::

    carrier = CarrierHandshake(package, Role.INITIATOR, framing=framing, options=options, credential=credential)
    try:
        token = None
        while not carrier.is_complete:
            step = await respond(carrier.machine, token, services)
            await send(carrier.answer(step))                            # may be empty
            while (token := carrier.next_token()) is None and not carrier.is_complete:
                framing.receive_data(await receive())                   # or framing.receive_eof()
    except BaseException as error:
        await send(carrier.refuse(error))                               # may be empty; under a short shield
        raise

The rules are those of [MS-NNS] 3.1.5 as .NET 8 follows them:

* A token goes out as *done* when the own context is complete with it, else as *in progress*.
* The acceptor always ends with a done frame, empty where it has no token. An initiator that is complete and has no
  token sends nothing: .NET's server would read an extra done frame as the length of data.
* The token in a received done frame is processed. An initiator is finished when it is complete and has seen that frame.
* What was established is submitted to `admit` BEFORE the last token leaves; a refusal takes that token's place. A
  handshake whose peer could not be told then asks earlier, by `Admission`.

A framing whose ``token(TokenKind.DONE, None)`` is empty (raw) has no closing leg: there the handshake is finished when
the machine is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from securestream.arguments import what_is
from securestream.credentials import Credential
from securestream.errors import (
    ErrorKind,
    FramingError,
    InvalidToken,
    NoCredentials,
    PeerGone,
    PeerRefused,
    QualityNotMet,
    SecureStreamError,
    UsageError,
)
from securestream.framing.base import EndOfInput, ErrorFrame, FrameEvent, Framing, Mode, TokenFrame, TokenKind
from securestream.machine import HandshakeMachine, State, Step, clear_frames, told_to_peer
from securestream.options import ContextFlags, ImpersonationLevel, Limits, Options, Protection, Role, required_flags
from securestream.provider import (
    Admit,
    Capability,
    Established,
    Handshake,
    PackageInfo,
    SecurityContext,
    SecurityPackage,
    TargetName,
)


class Judge:
    """Judges an outcome once: by `check_quality`, then by the caller's `admit`.

    Given to a machine as its ``admit`` it answers the handshake that asks early; called again with the same outcome at
    the end it says nothing more. Another peer or another result than was submitted is another outcome.

    Args:
        options: what was asked.
        admit: the caller's judgement.
    """

    def __init__(self, options: Options, admit: Admit | None) -> None:
        self._options = options
        self._admit: Callable[[Established], object] | None = admit
        self._judged: Established | None = None

    def __call__(self, established: Established) -> None:
        """Judge.

        Raises:
            HandshakeError: the outcome is refused.
            UsageError: `admit` returned something, a coroutine or a truth value: taken as it is meant by its author, or
                as nothing, it could let everybody in.
        """
        judged = self._judged
        if judged is not None and judged.result is established.result and judged.peer == established.peer:
            return
        check_quality(established, self._options)
        verdict = None if self._admit is None else self._admit(established)
        if verdict is not None:
            raise UsageError(
                f"admit refuses by raising NotAuthorized, and returns nothing; it returned {what_is(verdict)}. It is a "
                "plain function, never an async one"
            )
        self._judged = established


class CarrierHandshake:
    """A handshake of `package` over `framing`. The module's first lines show how to drive it.

    Args:
        package: the security package.
        role: this end's role.
        framing: the wire; it may have served an earlier attempt, whose unread octets it keeps.
        options: what is asked; `Options.protection` is demanded of the outcome.
        credential: as whom, or with what to verify; `None` for the package's default.
        target: the service to reach, for an initiator.
        admit: a further judgement of the outcome, after that of `check_quality`.

    Raises:
        UsageError: the package does not play that role, or the framing does not fit it.
        NoCredentials: the package cannot use the credential; the message says what to give.
    """

    def __init__(
        self,
        package: SecurityPackage,
        role: Role,
        *,
        framing: Framing,
        options: Options,
        credential: Credential | None = None,
        target: TargetName | None = None,
        admit: Admit | None = None,
    ) -> None:
        info = package.info
        check_levels(info, options)
        self._has_closing_leg = _has_closing_leg(info, framing)
        handshake = handshake_of(package, role, credential, target, options)
        self._judge = Judge(options, admit)
        self._machine = HandshakeMachine(handshake, _limits(info, options.limits), admit=self._judge)
        self._role = role
        self._framing = framing
        self._established: Established | None = None
        self._peer_done = False
        self._complete = False
        framing.enter(Mode.HANDSHAKE)

    def __repr__(self) -> str:
        return f"<CarrierHandshake {self._role.value} {self._machine.state.value}>"

    @property
    def machine(self) -> HandshakeMachine:
        """The machine, for `securestream.drive.respond`."""
        return self._machine

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is sent or awaited: data may flow, and the framing was told so."""
        return self._complete

    @property
    def established(self) -> Established:
        """The outcome, admitted.

        Raises:
            UsageError: the handshake is not complete.
        """
        if self._established is None or not self._complete:
            raise UsageError("the handshake is not complete")
        return self._established

    @property
    def protection(self) -> Protection:
        """How data travels after the handshake, at both ends alike: by what was established, which may be more than
        this end asked for.
        """
        return protection_of(self.established)

    def answer(self, step: Step) -> bytes:
        """The octets to send after `step`, which has no need; empty for nothing.

        Raises:
            HandshakeError: the outcome is refused by `check_quality` or by `admit`, or the peer called itself done
                before this end was.
        """
        if step.established is None:
            if self._peer_done:
                raise InvalidToken("the peer ended its handshake before this end was complete")
            return b"" if step.token is None else self._framing.token(TokenKind.IN_PROGRESS, step.token)
        self._established = step.established
        self._judge(step.established)
        speaks_last = self._role is Role.ACCEPTOR and self._has_closing_leg
        if step.token is None and not speaks_last:
            octets = b""
        elif self._peer_done and not speaks_last:
            raise InvalidToken("the peer ended its handshake before it had this end's last token")
        else:
            octets = self._framing.token(TokenKind.DONE, step.token)
        if speaks_last or self._peer_done or not self._has_closing_leg:
            self._finish(step.established)
        return octets

    def next_token(self) -> bytes | None:
        """The peer's next token, with which to step the machine; `None` when the framing needs more octets, or when the
        handshake is complete: look at `is_complete`.

        Raises:
            PeerRefused: the peer sent an error frame.
            PeerGone: the peer ended its stream.
            InvalidToken: a frame where none is due.
            FramingError: the carrier is broken.
        """
        if self._complete:
            return None
        event = self._framing.next_event()
        if event is None:
            return None
        frame = self._token_frame(event)
        self._peer_done = frame.kind is TokenKind.DONE
        if self._established is None:
            if frame.token is None:
                raise InvalidToken("the peer ended its handshake with an empty frame before this end was complete")
            return frame.token
        if frame.kind is not TokenKind.DONE or frame.token:
            raise InvalidToken("the peer sent a token after this end's handshake was complete")
        self._finish(self._established)
        return None

    def refuse(self, error: BaseException) -> bytes:
        """End the handshake because of `error`, drop its keys, and give the octets that are still owed to the peer.

        Nothing is owed after what came from the peer itself or when the carrier is broken, and nothing may be sent once
        the peer went on to data. Whoever was interrupted inside a send must not send them either.
        """
        peer_went_on = self._complete or (self._peer_done and self._role is Role.INITIATOR)
        owed = not peer_went_on and not isinstance(error, PeerRefused | PeerGone | FramingError)
        self._machine.close()
        established = self._established
        if isinstance(error, SecureStreamError) and error.negotiation is None and established is not None:
            error.negotiation = established.negotiation  # the mechanism, which was complete, could not say it
        self._discard()
        clear_frames(error)
        if not owed:
            return b""
        told = told_to_peer(error)
        return self._framing.error(told.kind) or self._framing.token(TokenKind.IN_PROGRESS, told.token)

    def _token_frame(self, event: FrameEvent) -> TokenFrame:
        if isinstance(event, TokenFrame):
            return event
        if isinstance(event, ErrorFrame):
            raise self._told(
                PeerRefused(
                    f"the peer refused the handshake ({event.kind.sspi}, 0x{event.code:08X}): {_advice(event.kind)}",
                    kind=event.kind,
                    code=event.code,
                )
            )
        if isinstance(event, EndOfInput):
            raise self._told(PeerGone("the peer ended its stream before the handshake was complete"))
        raise FramingError("data came before the handshake was complete")

    def _told(self, error: PeerRefused | PeerGone) -> PeerRefused | PeerGone:
        """`error`, unless the mechanism raises what it makes of it: a negotiation tells what it had considered."""
        if self._machine.state in (State.EXCHANGING, State.NEEDING):
            self._machine.fail(error)
        return error

    def _finish(self, established: Established) -> None:
        sealed = isinstance(established.result, SecurityContext) and protection_of(established) is not Protection.NONE
        self._framing.enter(Mode.DATA if sealed else Mode.RAW)
        self._complete = True

    def _discard(self) -> None:
        established, self._established, self._complete = self._established, None, False
        if established is not None and isinstance(established.result, SecurityContext):
            established.result.discard()


def handshake_of(
    package: SecurityPackage,
    role: Role,
    credential: Credential | None,
    target: TargetName | None,
    options: Options,
) -> Handshake:
    """The handshake of a package in a role; the target is an initiator's.

    Raises:
        UsageError: the package does not play that role.
        NoCredentials: the package cannot use the credential; the message says what to give.
    """
    info = package.info
    if role not in info.roles:
        raise UsageError(f"{info.name} plays no {role.value}")
    if unusable := package.usable(credential, role):
        raise NoCredentials(f"{info.name}: {unusable.reason}")
    if role is Role.INITIATOR:
        return package.initiate(credential, target, options)
    return package.accept(credential, options)


def check_levels(info: PackageInfo, options: Options) -> None:
    """Refuse options with a level that a package does not have, rather than ignore it.

    Raises:
        UsageError: an impersonation level, where nobody can act as the peer because the channel is TLS.
    """
    if Capability.STREAM in info.capabilities and options.impersonation is not ImpersonationLevel.IDENTIFICATION:
        raise UsageError(f"{info.name} has no impersonation levels: leave impersonation at IDENTIFICATION")


def check_quality(established: Established, options: Options) -> None:
    """Refuse an outcome that protects less than `options.protection` (SECURITY: what was asked is what runs), and as an
    acceptor one that lets this end act as the peer less than `options.impersonation` demands.

    More than was asked is fine: .NET's client may be stronger than its server.

    Raises:
        QualityNotMet: names what is missing.
    """
    if not isinstance(established.result, SecurityContext):
        return  # TLS: its records are always encrypted and authenticated, and nobody acts as the peer
    _check_impersonation(established.result, options.impersonation)
    missing = required_flags(options.protection) & ~established.result.flags
    if missing:
        raise QualityNotMet(
            f"{options.protection.name} was asked for, but the established context lacks "
            f"{', '.join(str(flag.name) for flag in missing)}: let the peer ask for the same protection"
        )


def _check_impersonation(context: SecurityContext, demanded: ImpersonationLevel) -> None:
    if context.role is Role.ACCEPTOR and (allowed := impersonation_of(context)) < demanded:
        raise QualityNotMet(
            f"the impersonation level {demanded.name} is demanded, but the client allows {allowed.name}: let it "
            "allow that level, or demand less"
        )


def impersonation_of(context: SecurityContext) -> ImpersonationLevel:
    """How far the acceptor of `context` may act as its initiator, as .NET reads it from the flags."""
    flags = context.flags
    if ContextFlags.DELEGATE in flags:
        return ImpersonationLevel.DELEGATION
    if flags & (ContextFlags.IDENTIFY | ContextFlags.ANONYMOUS):  # nobody can be an anonymous client
        return ImpersonationLevel.IDENTIFICATION
    return ImpersonationLevel.IMPERSONATION


def protection_of(established: Established) -> Protection:
    """How the data of an established connection is protected."""
    if not isinstance(established.result, SecurityContext):
        return Protection.ENCRYPT_AND_SIGN
    flags = established.result.flags
    if ContextFlags.CONFIDENTIALITY in flags:
        return Protection.ENCRYPT_AND_SIGN
    return Protection.SIGN if ContextFlags.INTEGRITY in flags else Protection.NONE


def _has_closing_leg(info: PackageInfo, framing: Framing) -> bool:
    """Whether `framing` has done frames, after checking that it fits the package."""
    closing = bool(framing.token(TokenKind.DONE, None))
    if Capability.STREAM in info.capabilities:
        if closing:
            raise UsageError(f"{info.name} is a protocol of its own: give it a raw framing")
    elif not closing:
        raise UsageError(f"the tokens of {info.name} do not say where they end: a raw framing cannot carry them")
    return closing


def _limits(info: PackageInfo, limits: Limits) -> Limits:
    """Where each read is a token, how often the network cut the octets says nothing: they are bounded by number."""
    if Capability.STREAM in info.capabilities:
        return replace(limits, legs=limits.handshake_octets)
    return limits


def _advice(kind: ErrorKind) -> str:
    if kind is ErrorKind.QUALITY_NOT_MET:
        return "it asks for more protection or another impersonation level"
    if kind is ErrorKind.LOGON_DENIED:
        return "check the user name, the password and the domain"
    if kind in (ErrorKind.NO_COMMON_MECHANISM, ErrorKind.UNSUPPORTED):
        return "it does not offer this package or these options"
    return "look at the peer's log"
