"""The mechListMIC: both ends prove to each other which list was sent and which arrived (RFC 4178 5)."""

from __future__ import annotations

import hmac

from securestream.errors import ContextError, Downgrade, InvalidToken
from securestream.options import ContextFlags
from securestream.provider import Established, SecurityContext
from securestream_providers.negotiate.messages import NegTokenInit, NegTokenResp


class ListProtection:
    """The MICs of one negotiation over its list of mechanisms.

    Args:
        octets: the list, as the initiator sent it.
        established: what the chosen mechanism established.
        demanded: whether MICs are demanded, whatever the mechanism is.

    Raises:
        Downgrade: they are, and the mechanism cannot make one.
    """

    def __init__(self, octets: bytes, established: Established, *, demanded: bool) -> None:
        context = established.result
        if not isinstance(context, SecurityContext):
            raise InvalidToken("a mechanism that gives no security context cannot be negotiated")
        self._octets = octets
        self._context = context
        self._possible = ContextFlags.INTEGRITY in context.flags
        self.needed = demanded or (self._possible and context.needs_negotiation_mic)
        self.sent = False
        self.verified = False
        if demanded and not self._possible:
            raise Downgrade(
                f"{context.package} gives no integrity here, so it cannot be proved that nobody removed a better "
                "mechanism from the list: only the first choice may be taken so"
            )

    def check(self, mic: bytes) -> None:
        """Check the peer's MIC; from then on this end owes one, too.

        Raises:
            Downgrade: it does not fit.
        """
        if self.verified or not self._possible:
            raise Downgrade("the peer sent a MIC of the list of mechanisms where none is due")
        try:
            self._context.check_negotiation_mic(self._octets, mic)
        except ContextError as error:
            raise Downgrade(
                "the peer's MIC of the list of mechanisms does not fit: somebody altered the list on its way"
            ) from error
        self.verified = self.needed = True

    def make(self) -> bytes | None:
        """This end's MIC, where one is needed and not sent yet."""
        if not self.needed or self.sent:
            return None
        self.sent = True
        return self._context.negotiation_mic(self._octets)

    def missing(self) -> Downgrade:
        """The error where the peer completes without its MIC; to be raised."""
        return Downgrade(
            "the peer did not prove which list of mechanisms it saw: somebody may have removed a better one, or the MIC"
        )


def mic_of(message: NegTokenInit | NegTokenResp) -> bytes | None:
    """The MIC in a message. Windows 2000 and some later acceptors put a copy of the response token there, which proves
    nothing and counts as absent (smbprotocol issue 137).
    """
    mic = message.mech_list_mic
    token = message.mech_token if isinstance(message, NegTokenInit) else message.response_token
    if mic is None or not mic or (token is not None and hmac.compare_digest(mic, token)):
        return None
    return mic
