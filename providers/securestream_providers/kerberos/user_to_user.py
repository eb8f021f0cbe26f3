"""The first two tokens of user-to-user authentication (draft-swift-win2k-krb-user2user 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from securestream.wire import der
from securestream_providers.krb5 import gss_token
from securestream_providers.krb5.messages import Five, KerberosString, PrincipalName, Ticket
from securestream_providers.krb5.names import KerberosName


@dataclass(frozen=True)
class TgtRequest(der.Message):
    """KERB-TGT-REQUEST: the initiator asks for the acceptor's ticket-granting ticket."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(16, 16)]
    server_name: Annotated[PrincipalName | None, der.explicit(2)] = None
    realm: Annotated[KerberosString | None, der.explicit(3)] = None


@dataclass(frozen=True)
class TgtReply(der.Message):
    """KERB-TGT-REPLY: the acceptor's ticket-granting ticket, kept as received."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(17, 17)]
    ticket: Annotated[bytes, der.explicit(2), der.Raw(Ticket)]


def tgt_request(name: KerberosName) -> bytes:
    """The token that asks for a ticket."""
    message = TgtRequest(5, 16, name.principal_name, name.realm or None).encode()
    return gss_token.frame(gss_token.TGT_REQ, message, gss_token.USER_TO_USER)


def tgt_reply(ticket: bytes) -> bytes:
    """The token that brings it."""
    return gss_token.frame(gss_token.TGT_REP, TgtReply(5, 17, ticket).encode(), gss_token.USER_TO_USER)
