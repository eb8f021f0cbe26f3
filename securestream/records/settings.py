"""What is asked of a TLS engine, in words that every engine understands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from securestream.arguments import check_choice
from securestream.errors import UsageError

Source: TypeAlias = Path | str | bytes
"""A PEM file by its path, or PEM octets."""

VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
Version: TypeAlias = Literal["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"]
Presence: TypeAlias = Literal["none", "optional", "required"]

POST_QUANTUM_GROUP = "X25519MLKEM768"


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """How to speak TLS. The defaults are the safe side.

    Args:
        trust: ``"system"``, or the authorities to trust, in PEM.
        verify: ``"none"`` gives up the proof of who the server is; a man in the middle then reads everything.
        crls: certificate revocation lists in PEM; with any given, a certificate without a current list is refused.
        crl_check: whether all of a chain is looked up in them, or its leaf alone.
        client_certificates: whether an acceptor asks for a client certificate.
        alpn: application protocols, the preferred one first; no overlap with the peer's offer is fatal.
        minimum_version: older than TLS 1.2 only when named.
        maximum_version: the newest to speak.
        ciphers: OpenSSL's cipher string for TLS 1.2 and older; `None` for the engine's own.
        group: the one curve of the key agreement, such as ``"prime256v1"``; `None` for the engine's own choice.
        post_quantum: demand the hybrid X25519MLKEM768.
        ocsp: what an initiator wants of a stapled OCSP response; an acceptor staples `ocsp_response` when it is asked.
        ocsp_response: path of a DER OCSP response to staple, read again when it changes.
        resumption: whether sessions are resumed; `None` for wherever the engine can.
        key_log: file that receives the session secrets for Wireshark; made with mode 0600. Whoever reads it reads all.
    """

    trust: Source | Sequence[Source] = "system"
    verify: Literal["full", "none"] = "full"
    crls: tuple[Source, ...] = ()
    crl_check: Literal["chain", "leaf"] = "chain"
    client_certificates: Presence = "none"
    alpn: tuple[str, ...] = ()
    minimum_version: Version = "TLSv1.2"
    maximum_version: Version = "TLSv1.3"
    ciphers: str | None = None
    group: str | None = None
    post_quantum: bool = False
    ocsp: Presence = "none"
    ocsp_response: Path | str | None = None
    resumption: bool | None = None
    key_log: Path | str | None = None

    def __post_init__(self) -> None:
        check_choice("verify", self.verify, ("full", "none"))
        check_choice("crl_check", self.crl_check, ("chain", "leaf"))
        check_choice("client_certificates", self.client_certificates, get_args(Presence))
        check_choice("ocsp", self.ocsp, get_args(Presence))
        check_choice("minimum_version", self.minimum_version, VERSIONS)
        check_choice("maximum_version", self.maximum_version, VERSIONS)
        if VERSIONS.index(self.minimum_version) > VERSIONS.index(self.maximum_version):
            raise UsageError(f"no version is at least {self.minimum_version} and at most {self.maximum_version}")
        if self.post_quantum and self.maximum_version != "TLSv1.3":
            raise UsageError(f"{POST_QUANTUM_GROUP} needs TLS 1.3")
        for name in self.alpn:
            if not 0 < len(name.encode()) < 256:
                raise UsageError(f"an application protocol has 1 to 255 octets (RFC 7301 3.1), unlike {name!r}")

    @property
    def authorities(self) -> tuple[Source, ...]:
        """The authorities given; empty for the system's."""
        if isinstance(self.trust, Path | bytes):
            return (self.trust,)
        if isinstance(self.trust, str):
            return () if self.trust == "system" else (self.trust,)
        return tuple(self.trust)

    @property
    def resumes(self) -> bool:
        """Whether sessions are resumed, on an engine that can."""
        return self.resumption is not False

    @property
    def watched(self) -> tuple[Source, ...]:
        """All that may be a file and may change while serving."""
        stapled = () if self.ocsp_response is None else (self.ocsp_response,)
        return (*self.authorities, *self.crls, *stapled)

    @property
    def allows_old_versions(self) -> bool:
        """Whether a version before TLS 1.2 was named."""
        return VERSIONS.index(self.minimum_version) < VERSIONS.index("TLSv1.2")
