"""A token of a negotiation in one line: the list, the state, the mechanism's own words, and nothing that proves."""

from __future__ import annotations

import pytest

from securestream.credentials import Accounts
from securestream.options import ContextFlags
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    HINTS,
    IAKERB,
    KERBEROS,
    NEGOEX,
    NTLM,
    NegState,
    NegTokenInit2,
    frame,
)
from securestream_providers.ntlm import Ntlm
from tests.providers.kerberos.ends import Realm, new_services
from tests.providers.kerberos.ends import package as kerberos
from tests.providers.negotiate.ends import meet, offer, options, resp
from tests.providers.negotiate.toy import FIRST, SECOND, Toy
from tests.providers.ntlm.ends import ALICE, store

PACKAGE = Negotiate(Kerberos(), Ntlm(), Toy())


def test_an_exchange_of_ntlm() -> None:
    client = Negotiate(Toy(SECOND), Ntlm(), ntlm="always")
    met = meet(client, Negotiate(Ntlm()), initiating=ALICE, accepting=Accounts(store()))
    lines = [PACKAGE.describe_token(token) for token in met.tokens]
    assert lines[0].startswith("SPNEGO NegTokenInit (")
    assert f"mechanisms {SECOND} NTLM, [token (13 octets)]" in lines[0]
    assert lines[1].endswith(": request-mic, mechanism NTLM")
    for line, name in zip(lines[2:5], ("NEGOTIATE", "CHALLENGE", "AUTHENTICATE"), strict=True):
        assert "accept-incomplete, [NTLM" in line
        assert name in line
    assert lines[4].endswith(", MIC")
    assert lines[5].endswith(": accept-completed, MIC")


@pytest.mark.parametrize("style", [ContextFlags.NONE, ContextFlags.DCE_STYLE])
def test_an_exchange_of_kerberos(style: ContextFlags) -> None:
    realm = Realm()
    met = meet(
        Negotiate(kerberos()),
        Negotiate(kerberos()),
        initiating=realm.tickets(),
        accepting=realm.keytab,
        services=new_services(),
        mine=options(1, flags=ContextFlags.MUTUAL | style),
    )
    lines = [PACKAGE.describe_token(token) for token in met.tokens]
    assert "mechanisms Kerberos, [Kerberos" in lines[0]
    assert "mechanism Kerberos, [Kerberos" in lines[1]


@pytest.mark.parametrize(
    ("token", "line"),
    [
        (frame(NegTokenInit2(None, neg_hints=HINTS)), "SPNEGO NegTokenInit2 (58 octets): mechanisms "),
        (offer(KERBEROS, NEGOEX, IAKERB), "mechanisms Kerberos NEGOEX IAKERB"),
        (resp(), "SPNEGO NegTokenResp (4 octets): empty"),
        (resp(NegState.REJECT, NTLM, b""), "reject, mechanism NTLM, [token (0 octets)]"),
        (offer(FIRST, token=b"\x60\x00"), f"mechanisms {FIRST}, [token (2 octets)]"),
        (offer(FIRST, token=offer(FIRST)), "[SPNEGO ("),
        (offer(FIRST, mic=b"secret proof"), "MIC"),
        (b"\x60\x00", "SPNEGO message, malformed (2 octets)"),
        (b"\xa1\x02\x30\x80", "SPNEGO message, malformed (4 octets)"),
        (b"", "token (0 octets)"),
        (b"NTLMSSP\0\x01\0\0\0", "NTLM"),
    ],
)
def test_one_line(token: bytes, line: str) -> None:
    found = PACKAGE.describe_token(token)
    assert line in found
    assert "\n" not in found
    assert "secret proof" not in found
