"""Principals: names with their realm (RFC 4120 6, RFC 6806 5)."""

from __future__ import annotations

from dataclasses import dataclass

from securestream.errors import UsageError
from securestream.values import made_quickly
from securestream_providers.krb5.messages import PrincipalName
from securestream_providers.krb5.numbers import NameType

_ESCAPES = str.maketrans({"\\": "\\\\", "/": "\\/", "@": "\\@", "\n": "\\n", "\t": "\\t", "\b": "\\b", "\0": "\\0"})
_UNESCAPES = {"n": "\n", "t": "\t", "b": "\b", "0": "\0"}


@made_quickly
@dataclass(frozen=True)
class KerberosName:
    """A principal: its name within a realm. Its text is MIT's: ``component/component@REALM``, with escapes.

    Equality compares realm and components, not the type of the name, which is a hint only (RFC 4120 6.2).

    Args:
        realm: with its case, which counts; empty where it is not known yet.
        components: the name's parts.
        name_type: a `NameType`, or a number that is none.
    """

    realm: str
    components: tuple[str, ...]
    name_type: int = NameType.PRINCIPAL

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KerberosName):
            return NotImplemented
        return self.realm == other.realm and self.components == other.components

    def __hash__(self) -> int:
        return hash((self.realm, self.components))

    def __str__(self) -> str:
        return f"{self.text}@{self.realm.translate(_ESCAPES)}" if self.realm else self.text

    @property
    def text(self) -> str:
        """The name's text without the realm, with escapes."""
        return "/".join([part.translate(_ESCAPES) for part in self.components])

    @property
    def principal_name(self) -> PrincipalName:
        """The name as messages carry it, without the realm."""
        return PrincipalName(self.name_type, self.components)

    @property
    def is_tgs(self) -> bool:
        """Whether this is a ticket-granting service, of its own realm or towards another."""
        return len(self.components) == 2 and self.components[0] == "krbtgt"

    @classmethod
    def of(cls, name: PrincipalName, realm: str) -> KerberosName:
        """The principal of a name and a realm as messages carry them."""
        return cls(realm, name.name_string, name.name_type)

    @classmethod
    def parse(cls, text: str, realm: str = "", name_type: int | None = None) -> KerberosName:
        r"""The principal that a text names, in MIT's notation: ``\`` escapes ``/``, ``@`` and itself.

        Args:
            text: ``name``, ``service/host``, either with ``@REALM``.
            realm: where `text` names none.
            name_type: by default SRV_INST for ``krbtgt/...``, SRV_HST for two components, else PRINCIPAL. With
                ENTERPRISE everything before the last ``@`` is one component, which may contain an ``@``.

        Raises:
            UsageError: an empty name, two realms, or a lone backslash at the end.
        """
        if name_type == NameType.ENTERPRISE:
            return cls(realm, (text,), NameType.ENTERPRISE)
        parts: list[str] = [""]
        own_realm: str | None = None
        position = 0
        while position < len(text):
            character = text[position]
            position += 1
            if character == "\\":
                if position == len(text):
                    raise UsageError(f"{text!r} ends in a lone backslash")
                character = _UNESCAPES.get(text[position], text[position])
                position += 1
            elif character == "@":
                if own_realm is not None:
                    raise UsageError(f"{text!r} names two realms: escape an @ that belongs to the name as \\@")
                own_realm = ""
                continue
            elif character == "/" and own_realm is None:
                parts.append("")
                continue
            if own_realm is None:
                parts[-1] += character
            else:
                own_realm += character
        if not any(parts):
            raise UsageError("a principal needs a name")
        if name_type is None:
            name_type = _usual_type(parts)
        return cls(own_realm or realm, tuple(parts), name_type)


def _usual_type(parts: list[str]) -> NameType:
    if len(parts) == 2:
        return NameType.SRV_INST if parts[0] == "krbtgt" else NameType.SRV_HST
    return NameType.PRINCIPAL


def tgs_name(realm: str, issuer: str | None = None) -> KerberosName:
    """The ticket-granting service of `realm`, as the realm `issuer` (by default the same) knows it."""
    return KerberosName(realm if issuer is None else issuer, ("krbtgt", realm), NameType.SRV_INST)
