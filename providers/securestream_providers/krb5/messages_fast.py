"""Messages of FAST (RFC 6113 5.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from securestream.wire import der
from securestream_providers.krb5.messages import (
    Checksum,
    EncryptedData,
    EncryptionKey,
    Int32,
    KdcReqBody,
    KerberosFlags,
    KerberosString,
    Microseconds,
    PaData,
    PrincipalName,
    UInt32,
)


@dataclass(frozen=True)
class FastArmor(der.Message):
    """KrbFastArmor: the armor's type (1: an AP-REQ) and value (RFC 6113 5.4.1)."""

    armor_type: Annotated[Int32, der.explicit(0)]
    armor_value: Annotated[bytes, der.explicit(1)]


@dataclass(frozen=True)
class FastArmoredReq(der.Message):
    """KrbFastArmoredReq (RFC 6113 5.4.2)."""

    armor: Annotated[FastArmor | None, der.explicit(0)]
    req_checksum: Annotated[Checksum, der.explicit(1)]
    enc_fast_req: Annotated[EncryptedData, der.explicit(2)]


@dataclass(frozen=True)
class PaFxFastRequest(der.Message, wrapper=True):
    """PA-FX-FAST-REQUEST, a CHOICE with one alternative (RFC 6113 5.4.2)."""

    armored_data: Annotated[FastArmoredReq, der.explicit(0)]


@dataclass(frozen=True)
class FastReq(der.Message):
    """KrbFastReq, the content of enc-fast-req (RFC 6113 5.4.2)."""

    fast_options: Annotated[KerberosFlags, der.explicit(0)]
    padata: Annotated[tuple[PaData, ...], der.explicit(1), der.Size(0, 64)]
    req_body: Annotated[KdcReqBody, der.explicit(2)]


@dataclass(frozen=True)
class FastArmoredRep(der.Message):
    """KrbFastArmoredRep (RFC 6113 5.4.3)."""

    enc_fast_rep: Annotated[EncryptedData, der.explicit(0)]


@dataclass(frozen=True)
class PaFxFastReply(der.Message, wrapper=True):
    """PA-FX-FAST-REPLY (RFC 6113 5.4.3)."""

    armored_data: Annotated[FastArmoredRep, der.explicit(0)]


@dataclass(frozen=True)
class FastFinished(der.Message):
    """KrbFastFinished (RFC 6113 5.4.3)."""

    timestamp: Annotated[datetime, der.explicit(0)]
    usec: Annotated[Microseconds, der.explicit(1)]
    crealm: Annotated[KerberosString, der.explicit(2)]
    cname: Annotated[PrincipalName, der.explicit(3)]
    ticket_checksum: Annotated[Checksum, der.explicit(4)]


@dataclass(frozen=True)
class FastResponse(der.Message):
    """KrbFastResponse, the content of enc-fast-rep (RFC 6113 5.4.3)."""

    padata: Annotated[tuple[PaData, ...], der.explicit(0), der.Size(0, 64)]
    strengthen_key: Annotated[EncryptionKey | None, der.explicit(1)]
    finished: Annotated[FastFinished | None, der.explicit(2)]
    nonce: Annotated[UInt32, der.explicit(3)]
