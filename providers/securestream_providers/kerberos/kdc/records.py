"""Principals as plain values for a store, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from securestream_providers.kerberos.kdc.principals import KdcPrincipal, StoredKey
from securestream_providers.krb5.keys import make_key
from securestream_providers.krb5.names import KerberosName

_PLAIN: Final = (
    *("service", "disabled", "requires_preauth", "as_only", "forwardable", "proxiable", "renewable"),
    *("not_delegated", "ok_as_delegate", "trusted_to_auth", "rid"),
)
_TUPLES: Final = ("delegate_to", "delegate_from", "aliases", "groups")
_SPANS: Final = ("max_life", "max_renew")
_MOMENTS: Final = ("expires", "password_expires")


def record_of(principal: KdcPrincipal) -> dict[str, Any]:
    """All of a principal in values that JSON has. Its keys are among them: seal it."""
    name = principal.name
    record: dict[str, Any] = {field: getattr(principal, field) for field in _PLAIN}
    record |= {field: list(getattr(principal, field)) for field in _TUPLES}
    for field in _SPANS:
        span: timedelta | None = getattr(principal, field)
        record[field] = None if span is None else span.total_seconds()
    for field in _MOMENTS:
        moment: datetime | None = getattr(principal, field)
        record[field] = None if moment is None else moment.isoformat()
    record["name"] = [name.realm, list(name.components), int(name.name_type)]
    record["keys"] = [
        [stored.kvno, stored.key.etype, stored.key.contents.reveal().hex(), stored.salt] for stored in principal.keys
    ]
    return record


def principal_of(record: Mapping[str, Any]) -> KdcPrincipal:
    """The principal of a record."""
    realm, components, name_type = record["name"]
    fields: dict[str, Any] = {field: record[field] for field in _PLAIN if field in record}
    fields |= {field: tuple(record[field]) for field in _TUPLES if field in record}
    for field in _SPANS:
        seconds = record.get(field)
        fields[field] = None if seconds is None else timedelta(seconds=seconds)
    for field in _MOMENTS:
        moment = record.get(field)
        fields[field] = None if moment is None else datetime.fromisoformat(moment)
    keys = tuple(
        StoredKey(kvno, make_key(etype, bytes.fromhex(octets)), salt) for kvno, etype, octets, salt in record["keys"]
    )
    return KdcPrincipal(KerberosName(realm, tuple(components), name_type), keys, **fields)
