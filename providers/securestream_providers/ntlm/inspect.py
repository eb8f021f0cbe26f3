"""An NTLM message as a tree, and what an NT hash or a session key proves and opens of it."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from securestream.errors import MalformedMessage
from securestream.inspection import Inspection, InspectionKey, Node, Value, malformed, octets_text
from securestream.redaction import Secret
from securestream.wire.times import from_filetime
from securestream_providers.ntlm.crypto import hmac_md5, keyed_md5, ntowf_v2, proof_v2, rc4
from securestream_providers.ntlm.inspect_protected import Session, is_protected, protected
from securestream_providers.ntlm.messages import MIC_END, MIC_OFFSET, SIGNATURE, AvId, ClientChallenge, Flag, flag_names

_NEGOTIATE, _CHALLENGE, _AUTHENTICATE = 1, 2, 3
_MESSAGES: Final = {_NEGOTIATE: "NEGOTIATE", _CHALLENGE: "CHALLENGE", _AUTHENTICATE: "AUTHENTICATE"}
_PROOF: Final = 16
_MOST_PAIRS: Final = 64

_AV_NAMES: Final = {value: name for name, value in vars(AvId).items() if isinstance(value, int)}
_AV_TEXTS: Final = frozenset(
    {
        *(AvId.NB_COMPUTER_NAME, AvId.NB_DOMAIN_NAME, AvId.DNS_COMPUTER_NAME, AvId.DNS_DOMAIN_NAME),
        *(AvId.DNS_TREE_NAME, AvId.TARGET_NAME),
    }
)
_AV_FLAGS: Final = {1: "CONSTRAINED", 2: "MIC", 4: "UNTRUSTED_TARGET"}


@dataclass
class _Seen:
    """The messages of one conversation so far, and the sessions that it may have become."""

    messages: dict[int, bytes] = field(default_factory=dict[int, bytes])
    sessions: list[Session] = field(default_factory=list[Session])

    def add(self, session: Session) -> None:
        """Keep a session, one for each key: all are tried with every message, however often a logon is repeated."""
        self.sessions = [*(one for one in self.sessions if one.key != session.key), session]


def inspect(token: bytes, inspection: Inspection) -> Node | None:
    """The tree of an NTLM message, or of one that NTLM protects; `None` where it is neither."""
    seen = inspection.memory.get("NTLM")
    if not isinstance(seen, _Seen):
        seen = inspection.memory["NTLM"] = _Seen()
    if not token.startswith(SIGNATURE):
        return protected(token, seen.sessions) if is_protected(token) else None
    kind = int.from_bytes(token[8:12], "little")
    if kind not in _MESSAGES or len(token) < 12:
        return malformed("NTLM message", token, f"its type is {kind}; there are 1, 2 and 3")
    if kind == _NEGOTIATE:
        seen.messages.clear()
        seen.sessions.clear()
    seen.messages[kind] = token
    reader = _Reader(token)
    readers = {_NEGOTIATE: _negotiate, _CHALLENGE: _challenge}
    found = tuple(readers[kind](reader) if kind in readers else _authenticate(reader, seen, inspection))
    note = octets_text(len(token)) + (f"; malformed: {reader.problem}" if reader.problem else "")
    return Node(f"NTLM {_MESSAGES[kind]}", None, note, found, problem=bool(reader.problem))


class _Reader:
    """Reads the fields of a message that may be cut short; the first thing that is wrong is kept."""

    def __init__(self, token: bytes) -> None:
        self.token = token
        self.problem = ""
        self.payloads_at = len(token)
        """Where the first payload begins: what stands before it is the fixed part."""

    def wrong(self, why: str) -> None:
        if not self.problem:
            self.problem = why

    def octets(self, name: str, at: int, size: int) -> bytes:
        found = self.token[at : at + size]
        if len(found) < size:
            self.wrong(f"it ends at offset {len(self.token)}, inside of {name}")
        return found

    def number(self, name: str, at: int) -> int:
        return int.from_bytes(self.octets(name, at, 4), "little")

    def payload(self, name: str, at: int) -> bytes:
        head = self.octets(name, at, 8)
        size, offset = int.from_bytes(head[:2], "little"), int.from_bytes(head[4:], "little")
        if not size:
            return b""
        found = self.token[offset : offset + size]
        if len(found) < size:
            self.wrong(f"{name} should be {octets_text(size)} at offset {offset}, {len(found)} are there")
        self.payloads_at = min(self.payloads_at, offset)
        return found

    def version(self, at: int) -> Iterator[Node]:
        if self.payloads_at >= at + 8 and len(self.token) >= at + 8:
            octets = self.token[at : at + 8]
            build = int.from_bytes(octets[2:4], "little")
            yield Node("version", f"{octets[0]}.{octets[1]}.{build}", f"NTLM revision {octets[7]}")


def _flags(flags: int) -> Node:
    return Node("flags", f"{flags:#010x}", " ".join(flag_names(flags)))


def _text(name: str, octets: bytes, flags: int) -> Node:
    value = octets.decode("utf-16-le" if flags & Flag.UNICODE else "latin-1", "backslashreplace")
    return Node(name, value, "" if flags & Flag.UNICODE else "in the OEM character set")


def _negotiate(reader: _Reader) -> Iterator[Node]:
    flags = reader.number("the flags", 12)
    yield _flags(flags)
    for name, at in (("domain", 16), ("workstation", 24)):
        if len(reader.token) >= at + 8:
            value = reader.payload(name, at)
            if value:
                yield _text(name, value, 0)
    yield from reader.version(32)


def _challenge(reader: _Reader) -> Iterator[Node]:
    flags = reader.number("the flags", 20)
    yield _text("target name", reader.payload("target name", 12), flags)
    yield _flags(flags)
    yield Node("server challenge", reader.octets("the server challenge", 24, 8))
    if len(reader.token) >= 48:
        info = reader.payload("target info", 40)
        if info:
            yield Node("target info", None, octets_text(len(info)), tuple(_pairs(info)))
        yield from reader.version(48)


def _pairs(octets: bytes) -> Iterator[Node]:
    at = 0
    for _ in range(_MOST_PAIRS):
        if at + 4 > len(octets):
            yield malformed("AV pairs", octets[at:], "they have no end")
            return
        identifier = int.from_bytes(octets[at : at + 2], "little")
        size = int.from_bytes(octets[at + 2 : at + 4], "little")
        value = octets[at + 4 : at + 4 + size]
        at += 4 + size
        name = _AV_NAMES.get(identifier, f"AV pair {identifier}")
        if identifier == AvId.EOL:
            if any(octets[at:]):
                yield Node("after the end", octets[at:])
            return
        if len(value) < size:
            yield malformed(name, value, f"it should be {octets_text(size)}, {len(value)} are there")
            return
        yield Node(name, *_pair(identifier, value))
    yield malformed("AV pairs", octets[at:], f"there are more than {_MOST_PAIRS}")


def _pair(identifier: int, value: bytes) -> tuple[Value, str]:
    if identifier in _AV_TEXTS:
        return value.decode("utf-16-le", "backslashreplace"), ""
    if identifier == AvId.FLAGS and len(value) == 4:
        flags = int.from_bytes(value, "little")
        return f"{flags:#x}", " ".join(name for bit, name in _AV_FLAGS.items() if flags & bit)
    if identifier == AvId.TIMESTAMP and len(value) == 8:
        return _moment(int.from_bytes(value, "little"))
    if identifier == AvId.CHANNEL_BINDINGS and not any(value):
        return value, "none"
    return value, ""


def _moment(filetime: int) -> tuple[Value, str]:
    moment = from_filetime(filetime)
    return (moment, "") if filetime and moment is not None else (filetime, "FILETIME")


def _authenticate(reader: _Reader, seen: _Seen, inspection: Inspection) -> Iterator[Node]:
    lm, nt = reader.payload("LM response", 12), reader.payload("NT response", 20)
    domain, user = reader.payload("domain", 28), reader.payload("user", 36)
    workstation = reader.payload("workstation", 44)
    # what MS-NLMP has behind offset 52 is left out by the oldest clients
    key = reader.payload("encrypted session key", 52) if reader.payloads_at >= 60 else b""
    flags = reader.number("the flags", 60) if reader.payloads_at >= 64 else 0
    yield _flags(flags)
    yield _text("domain", domain, flags)
    yield _text("user", user, flags).annotated("" if user else "anonymous")
    yield _text("workstation", workstation, flags)
    yield Node("LM response", lm, "" if any(lm) else "zeros" if lm else "none")
    yield _response(nt)
    if key:
        yield Node("encrypted session key", key)
    yield from reader.version(64)
    if reader.payloads_at >= MIC_END and len(reader.token) >= MIC_END:
        yield Node("MIC", reader.token[MIC_OFFSET:MIC_END])
    if len(nt) > 24 and not reader.problem:
        codec = "utf-16-le" if flags & Flag.UNICODE else "latin-1"
        names = user.decode(codec, "replace"), domain.decode(codec, "replace")
        yield from _opened(_Logon(*names, nt, key, flags), seen, inspection)


def _response(nt: bytes) -> Node:
    if not nt:
        return Node("NT response", None, "none")
    if len(nt) <= 24:  # [MS-NLMP] 2.2.2.6: an NTLM response has 24 octets, a longer one is NTLMv2
        return Node("NT response", nt, "NTLMv1")
    try:
        blob = ClientChallenge.unpack(nt[_PROOF:])
    except MalformedMessage as error:
        return malformed("NT response", nt, str(error))
    children = (
        Node("proof", nt[:_PROOF]),
        Node("timestamp", *_moment(blob.timestamp)),
        Node("client challenge", blob.client_challenge),
        Node("AV pairs", None, octets_text(len(blob.pairs)), tuple(_pairs(blob.pairs))),
    )
    return Node("NT response", None, f"NTLMv2, {octets_text(len(nt))}", children)


# --- with keys -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Logon:
    user: str
    domain: str
    response: bytes = field(repr=False)
    encrypted_key: bytes = field(repr=False)
    flags: int


def _opened(logon: _Logon, seen: _Seen, inspection: Inspection) -> Iterator[Node]:
    """What the given keys tell of a logon with NTLMv2."""
    for key in inspection.keys:
        octets = key.octets.reveal()
        if key.kind == "session" and len(octets) == 16:
            seen.add(Session(logon.flags, key.octets, key.origin))
            yield from _mic(octets, seen, f"with {key.origin}", doubtful=True)
    hashes = [key for key in inspection.keys if key.kind in ("nt", "") and len(key.octets.reveal()) == 16]
    if not hashes:
        return
    challenge = seen.messages.get(_CHALLENGE, b"")
    if len(challenge) < 32:
        yield Node("proof", None, "to check it, give the CHALLENGE before this message, too")
        return
    for key in hashes:
        mac = keyed_md5(ntowf_v2(key.octets.reveal(), logon.user, logon.domain))
        proof, base = proof_v2(mac, challenge[24:32], logon.response[_PROOF:])
        if hmac.compare_digest(proof, logon.response[:_PROOF]):
            yield from _proved(logon, base, key, seen)
            return
    yield Node("proof", None, f"made with none of the {len(hashes)} NT hashes that were given", problem=True)


def _proved(logon: _Logon, base: bytes, key: InspectionKey, seen: _Seen) -> Iterator[Node]:
    yield Node("proof", None, f"made with {key.origin}")
    exported = base
    if logon.flags & Flag.KEY_EXCH and len(logon.encrypted_key) == 16:
        exported = rc4(base).update(logon.encrypted_key)
    yield Node("session key", exported, "", secret=True)
    seen.add(Session(logon.flags, Secret(exported), "the session key of this logon"))
    yield from _mic(exported, seen, "", doubtful=False)


def _mic(session_key: bytes, seen: _Seen, how: str, *, doubtful: bool) -> Iterator[Node]:
    """Whether the MIC fits; a key that may be another conversation's is silent where it does not."""
    messages = [seen.messages.get(kind, b"") for kind in (_NEGOTIATE, _CHALLENGE, _AUTHENTICATE)]
    last = messages[2]
    if not all(messages) or len(last) < MIC_END or not any(last[MIC_OFFSET:MIC_END]):
        return
    covered = messages[0] + messages[1] + last[:MIC_OFFSET] + bytes(16) + last[MIC_END:]
    fits = hmac.compare_digest(hmac_md5(session_key, covered), last[MIC_OFFSET:MIC_END])
    if fits or not doubtful:
        yield Node(
            "MIC", None, f"{'fits' if fits else 'does not fit'} the three messages {how}".rstrip(), problem=not fits
        )
