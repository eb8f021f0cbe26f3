"""What an NTLM end offers, agrees to and refuses: the arguments of the package and the flags they become."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, TypeAlias, get_args

from securestream.arguments import check_choice, check_sequence
from securestream.errors import Unsupported, UsageError
from securestream.options import ContextFlags, ImpersonationLevel, Options, Protection, Role
from securestream.provider import TargetName
from securestream_providers.ntlm.crypto import checked_codec, key_bits, utf16
from securestream_providers.ntlm.messages import AvId, Challenge, Flag, pack_pairs

Demand: TypeAlias = Literal["required", "optional", "off"]

KEY_BITS: Final = (128, 56, 40)
_BIT_FLAGS: Final = {128: Flag.BITS_128, 56: Flag.BITS_56, 40: 0}
_REMEMBERED: Final = 64
"""How many combinations of flags are remembered as sufficient; peers choose them, so the number is bounded."""
_PROTECTING: Final = Flag.SIGN | Flag.SEAL
_LM_KEYS: Final = Flag.LM_KEY | Flag.REQUEST_NON_NT_SESSION_KEY
_FEATURES: Final = _PROTECTING | Flag.ALWAYS_SIGN | Flag.VERSION | Flag.IDENTIFY | Flag.REQUEST_TARGET | Flag.NTLM


@dataclass(frozen=True)
class ServerNames:
    """The names by which an acceptor introduces itself in its CHALLENGE ([MS-NLMP] 2.2.2.1). They prove nothing.

    Args:
        computer: NetBIOS name of the machine.
        domain: NetBIOS name of its domain; empty for a machine by itself, which then stands for one.
        dns_computer: its DNS name, or empty.
        dns_domain: DNS name of the domain, or empty.
        dns_tree: DNS name of the forest, or empty.
    """

    computer: str = "SERVER"
    domain: str = ""
    dns_computer: str = ""
    dns_domain: str = ""
    dns_tree: str = ""

    @property
    def target(self) -> str:
        """What stands as TargetName: the domain, or else the machine."""
        return self.domain or self.computer

    @cached_property
    def pairs(self) -> tuple[tuple[int, bytes], ...]:
        """The AV pairs of these names, in the order in which Windows sends them."""
        names = (
            (AvId.NB_DOMAIN_NAME, self.target),
            (AvId.NB_COMPUTER_NAME, self.computer),
            (AvId.DNS_DOMAIN_NAME, self.dns_domain),
            (AvId.DNS_COMPUTER_NAME, self.dns_computer),
            (AvId.DNS_TREE_NAME, self.dns_tree),
        )
        required = (AvId.NB_DOMAIN_NAME, AvId.NB_COMPUTER_NAME)
        return tuple((identifier, utf16(name)) for identifier, name in names if name or identifier in required)

    @cached_property
    def packed(self) -> bytes:
        """The AV pairs of these names as octets, without the EOL pair: others follow them."""
        return pack_pairs(self.pairs)[:-4]

    @cached_property
    def by_id(self) -> dict[int, bytes]:
        """The AV pairs of these names by identifier."""
        return dict(self.pairs)


@dataclass(frozen=True, slots=True)
class ChallengeForm:
    """A CHALLENGE but for what is new in each one.

    Args:
        flags: its flags.
        before: what stands before the server's challenge.
        between: what stands between that and the timestamp.
        after: what stands after the timestamp.
    """

    flags: int
    before: bytes
    between: bytes
    after: bytes


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The arguments of `Ntlm`, which documents them, and what follows from them."""

    level: int = 5
    mic: Literal["required", "optional"] = "required"
    spn: Literal["off", "checked", "required"] = "checked"
    served: tuple[str, ...] = ()
    key_exchange: Demand = "required"
    extended_security: Demand = "required"
    key_bits: tuple[int, ...] = (128,)
    lm_keys: bool = False
    unicode: bool = True
    oem: str | None = None
    datagram: bool = False
    allow_anonymous: bool = False
    names: ServerNames = field(default_factory=ServerNames)
    workstation: str = ""
    _offers: dict[tuple[ContextFlags, Protection, ImpersonationLevel, Role], int] = field(
        default_factory=dict[tuple[ContextFlags, Protection, ImpersonationLevel, Role], int],
        init=False,
        repr=False,
        compare=False,
    )
    _sufficient: set[int] = field(default_factory=set[int], init=False, repr=False, compare=False)
    _challenges: dict[int, ChallengeForm] = field(
        default_factory=dict[int, ChallengeForm], init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.level not in range(6):
            raise UsageError(f"the level is LmCompatibilityLevel, 0 to 5, not {self.level}")
        check_choice("mic", self.mic, ("required", "optional"))
        check_choice("spn", self.spn, ("off", "checked", "required"))
        check_choice("key_exchange", self.key_exchange, get_args(Demand))
        check_choice("extended_security", self.extended_security, get_args(Demand))
        check_sequence("served", self.served, '["HTTP/www.example.com"]')
        check_sequence("key_bits", self.key_bits, "[128]")
        if not self.key_bits or not set(self.key_bits) <= set(KEY_BITS):
            raise UsageError("key_bits takes some of 128, 56 and 40")
        if self.spn == "required" and not self.served:
            raise UsageError('spn="required" needs the names that are served')
        if not self.unicode and self.oem is None:
            raise UsageError('without Unicode name an OEM code page, for example oem="cp850"')
        if self.datagram and self.key_exchange == "off":
            raise UsageError("datagram sessions always exchange keys ([MS-NLMP] 2.2.2.5)")
        if self.oem is not None:
            checked_codec(self.oem)

    # --- flags -------------------------------------------------------------------------------------------------------

    def offer(self, options: Options, role: Role) -> int:
        """What an initiator, or a datagram acceptor, is ready for.

        Args:
            options: the features asked for.
            role: which of the two.
        """
        key = (options.flags, options.protection, options.impersonation, role)
        found = self._offers.get(key)
        if found is None:
            found = self._offers[key] = self._offer(options.wanted, role)
        return found

    def _offer(self, wanted: ContextFlags, role: Role) -> int:
        flags = Flag.REQUEST_TARGET | Flag.NTLM | Flag.ALWAYS_SIGN | Flag.VERSION
        if ContextFlags.INTEGRITY in wanted or wanted & (ContextFlags.REPLAY | ContextFlags.SEQUENCE):
            flags |= Flag.SIGN
        if ContextFlags.CONFIDENTIALITY in wanted:
            flags |= Flag.SIGN | Flag.SEAL
        if ContextFlags.IDENTIFY in wanted:
            flags |= Flag.IDENTIFY
        if self.unicode:
            flags |= Flag.UNICODE
        if self.oem is not None:
            flags |= Flag.OEM
        never = role is Role.INITIATOR and self.level == 0  # LmCompatibilityLevel 0: no extended session security
        if self.extended_security != "off" and not never:
            flags |= Flag.EXTENDED_SESSION_SECURITY
        if self.extended_security != "required" and self.lm_keys:
            flags |= _LM_KEYS
        if self.datagram:
            flags |= Flag.DATAGRAM | Flag.KEY_EXCH
        if flags & _PROTECTING and self.key_exchange != "off":
            flags |= Flag.KEY_EXCH
        for bits in self.key_bits:
            flags |= _BIT_FLAGS[bits]
        return flags

    def agree(self, offered: int) -> int:
        """What an acceptor agrees to of what an initiator offers."""
        flags = offered & _FEATURES | Flag.NTLM
        if offered & Flag.UNICODE and self.unicode:
            flags |= Flag.UNICODE
        elif offered & Flag.OEM and self.oem is not None:
            flags |= Flag.OEM
        if self.extended_security != "off":
            flags |= offered & Flag.EXTENDED_SESSION_SECURITY
        if not flags & Flag.EXTENDED_SESSION_SECURITY and self.lm_keys:
            flags |= offered & _LM_KEYS
        if flags & _PROTECTING and self.key_exchange != "off":
            flags |= offered & Flag.KEY_EXCH
        for bits in self.key_bits:
            flags |= offered & _BIT_FLAGS[bits]
        return flags

    def check(self, flags: int) -> None:
        """Refuse a session whose flags are below what this end needs (SECURITY: what was asked is what runs).

        Raises:
            Unsupported: they are; the message names the argument that would allow them.
        """
        if flags in self._sufficient:
            return
        if not flags & (Flag.UNICODE | Flag.OEM):
            raise Unsupported("the two ends share no character set for names: see Ntlm(unicode=..., oem=...)")
        if self.extended_security == "required" and not flags & Flag.EXTENDED_SESSION_SECURITY:
            raise Unsupported(
                "the peer has no extended session security, without which sealing is weak; "
                'Ntlm(extended_security="optional") would allow that'
            )
        bits = key_bits(flags)
        if flags & _PROTECTING and bits not in self.key_bits:
            raise Unsupported(f"the peer allows sealing keys of {bits} bits only; Ntlm(key_bits=...) would allow that")
        exchange = (self.key_exchange == "required" and flags & _PROTECTING) or self.datagram
        if exchange and not flags & Flag.KEY_EXCH:
            raise Unsupported(
                'the peer exchanges no session key; Ntlm(key_exchange="optional") would allow sessions without'
            )
        if self.datagram != bool(flags & Flag.DATAGRAM):
            raise Unsupported("one end speaks NTLM for datagrams and the other for connections: see Ntlm(datagram=...)")
        if len(self._sufficient) < _REMEMBERED:
            self._sufficient.add(flags)

    # --- the acceptor's CHALLENGE ------------------------------------------------------------------------------------

    def challenge(self, agreed: int) -> ChallengeForm:
        """The CHALLENGE of these flags; always with a timestamp, so that a client owes us a MIC (SECURITY: NTLM)."""
        found = self._challenges.get(agreed)
        if found is None:
            found = self._challenge(agreed)
            if len(self._challenges) < _REMEMBERED:
                self._challenges[agreed] = found
        return found

    def _challenge(self, agreed: int) -> ChallengeForm:
        flags = agreed | Flag.TARGET_INFO
        target = b""
        if flags & Flag.REQUEST_TARGET:
            flags |= Flag.TARGET_TYPE_DOMAIN if self.names.domain else Flag.TARGET_TYPE_SERVER
            target = self.encode(self.names.target, flags)
        pairs = self.names.packed + pack_pairs(((AvId.TIMESTAMP, bytes(8)),))
        octets = Challenge(target, flags, bytes(8), target_info=pairs).pack()
        timestamp = len(octets) - 12  # of the last payload the last pair but EOL
        return ChallengeForm(flags, octets[:24], octets[32:timestamp], octets[timestamp + 8 :])

    # --- names -------------------------------------------------------------------------------------------------------

    def encode(self, text: str, flags: int) -> bytes:
        """`text` in the character set of the session.

        Raises:
            UsageError: it has characters that the OEM code page has not.
        """
        if not text:
            return b""
        if flags & Flag.UNICODE:
            return utf16(text)
        try:
            return text.encode(self.oem or "ascii")
        except UnicodeEncodeError:
            raise UsageError(f"{self.oem} cannot write a name of this logon: use Unicode") from None

    def decode(self, octets: bytes, flags: int) -> str:
        """Text of the session's character set; what is none becomes U+FFFD, which no account has."""
        if not octets:
            return ""
        if flags & Flag.UNICODE:
            return octets.decode("utf-16-le", "surrogatepass" if len(octets) % 2 == 0 else "replace")
        return octets.decode(self.oem or "ascii", "replace")

    def serves(self, target: str) -> bool:
        """Whether `target` is one of `served`: a whole service principal name, a host, or a service class."""
        return TargetName(target).is_among(self.served)
