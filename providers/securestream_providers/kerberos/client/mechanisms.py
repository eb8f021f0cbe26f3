"""The table of pre-authentication mechanisms: how a client proves itself in an AS exchange (RFC 6113 3)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from securestream.errors import BadSignature, Unsupported
from securestream.provider import Effect
from securestream.redaction import Redacted
from securestream_providers.kerberos.client.checks import unsealed
from securestream_providers.kerberos.client.keys import LongTermKeys
from securestream_providers.kerberos.client.settings import Session
from securestream_providers.krb5 import fast, preauth
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import PaData
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import PaType
from securestream_providers.krb5.preauth import KeyRecipe


@dataclass(frozen=True, repr=False)
class Situation(Redacted):
    """What a mechanism works with.

    Args:
        session: clock, randomness, settings.
        client: who logs on.
        keys: its long-term keys.
        etypes: asked for, the preferred first.
        recipes: what the KDC said last of keys.
        armor: the armor key, inside FAST.
    """

    session: Session
    client: KerberosName
    keys: LongTermKeys
    etypes: tuple[int, ...]
    recipes: tuple[KeyRecipe, ...] = ()
    armor: Key | None = None


class Mechanism(Protocol):
    """One way to authenticate; its methods are sub-handshakes."""

    pa_type: int

    def usable(self, situation: Situation) -> bool:
        """Whether it can be used, where the KDC offers it."""
        ...

    def answer(self, situation: Situation, value: bytes) -> Generator[Effect[Any], Any, tuple[PaData, ...]]:
        """What to send in the next request.

        Args:
            situation: all there is.
            value: of the KDC's padata of this type.
        """
        ...

    def reply_key(self, situation: Situation, etype: int, padata: Sequence[PaData]) -> Generator[Effect[Any], Any, Key]:
        """The key of the reply's encrypted part, before it is strengthened.

        Args:
            situation: as before the reply.
            etype: of the encrypted part.
            padata: of the reply.
        """
        ...


def long_term_key(situation: Situation, etypes: Sequence[int]) -> Generator[Effect[Any], Any, Key]:
    """The long-term key of the first type among `etypes` that client and KDC have.

    Raises:
        Unsupported: they share none.
    """
    known = [etype for etype in etypes if situation.keys.has(etype)]
    recipe = preauth.choose_recipe(situation.recipes, known, situation.client)
    if recipe is None:
        offered = ", ".join(str(recipe.etype) for recipe in situation.recipes) or "none"
        raise Unsupported(
            f"the KDC has keys of {situation.client} of the encryption types {offered} only, none of which is allowed "
            "or at hand; change the password once for AES keys, or allow the weak type by its name"
        )
    return (yield from situation.keys.key(recipe))


def reply_key_of(situation: Situation, etype: int, padata: Sequence[PaData]) -> Generator[Effect[Any], Any, Key]:
    """The long-term key of a reply: by the recipes in it, else by those before (RFC 4120 5.2.7.5)."""
    recipes = preauth.key_recipes(padata, situation.client) or situation.recipes
    matching = tuple(recipe for recipe in recipes if recipe.etype in (etype, 0))
    told = Situation(situation.session, situation.client, situation.keys, situation.etypes, matching, situation.armor)
    return (yield from long_term_key(told, (etype,)))


class EncryptedTimestamp:
    """PA-ENC-TIMESTAMP (RFC 4120 5.2.7.2), outside of FAST."""

    pa_type: int = PaType.ENC_TIMESTAMP

    def usable(self, situation: Situation) -> bool:
        """Not inside FAST, where the encrypted challenge takes its place (RFC 6113 5.4.6)."""
        return situation.armor is None

    def answer(self, situation: Situation, value: bytes) -> Generator[Effect[Any], Any, tuple[PaData, ...]]:
        """The time under the long-term key."""
        session = situation.session
        key = yield from long_term_key(situation, situation.etypes)
        return (preauth.encrypted_timestamp(key, session.kdc_time(), session.options.random),)

    def reply_key(self, situation: Situation, etype: int, padata: Sequence[PaData]) -> Generator[Effect[Any], Any, Key]:
        """The long-term key."""
        return (yield from reply_key_of(situation, etype, padata))


class EncryptedChallenge:
    """PA-ENCRYPTED-CHALLENGE (RFC 6113 5.4.6), inside FAST."""

    pa_type: int = PaType.ENCRYPTED_CHALLENGE

    def usable(self, situation: Situation) -> bool:
        """Inside FAST only."""
        return situation.armor is not None

    def answer(self, situation: Situation, value: bytes) -> Generator[Effect[Any], Any, tuple[PaData, ...]]:
        """The time under armor and long-term key."""
        session = situation.session
        key = yield from long_term_key(situation, situation.etypes)
        if situation.armor is None:
            raise Unsupported("an encrypted challenge needs FAST")
        return (fast.client_challenge(situation.armor, key, session.kdc_time(), session.options.random),)

    def reply_key(self, situation: Situation, etype: int, padata: Sequence[PaData]) -> Generator[Effect[Any], Any, Key]:
        """The long-term key, after the KDC's own challenge was checked where it sent one.

        Raises:
            InvalidToken: whoever answered does not know the long-term key.
        """
        key = yield from reply_key_of(situation, etype, padata)
        value = preauth.find_padata(padata, PaType.ENCRYPTED_CHALLENGE)
        if value is not None and situation.armor is not None:
            try:
                fast.read_kdc_challenge(situation.armor, key, value)
            except BadSignature as error:
                raise unsealed(error, "the KDC's challenge does not prove that it knows the client's key") from error
        return key


MECHANISMS: Final[tuple[Mechanism, ...]] = (EncryptedChallenge(), EncryptedTimestamp())
"""The mechanisms, the preferred first. PKINIT and others join here."""
