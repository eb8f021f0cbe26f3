"""Values of the declared test messages, for the tests, the fuzzers and the benchmark."""

from __future__ import annotations

from datetime import UTC, datetime

from securestream.wire import der
from tests.core.wire.schemas import (
    ApRep,
    ApReq,
    AsRep,
    AsReq,
    Authenticator,
    AuthorizationData,
    AuthorizationElement,
    Checksum,
    Colour,
    EncApRepPart,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    Everything,
    HostAddress,
    InitialToken,
    IssuerHint,
    KdcReqBody,
    KrbError,
    LastReq,
    NegoData,
    NegotiationToken,
    NegState,
    NegTokenInit,
    NegTokenResp,
    PaData,
    PrincipalName,
    Ticket,
    TicketFlags,
    TransitedEncoding,
    TsRequest,
)

KRB5 = "1.2.840.113554.1.2.2"
MS_KRB5 = "1.2.840.48018.1.2.2"
NTLM = "1.3.6.1.4.1.311.2.2.10"
NOW = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 22, 34, 56, tzinfo=UTC)

HTTP = PrincipalName(3, ("HTTP", "server.example.com"))
ALICE = PrincipalName(1, ("alice",))
TICKET = Ticket(5, "EXAMPLE.COM", HTTP, EncryptedData(18, 2, bytes(range(256)) + bytes(122)))
AP_REQ = ApReq(5, 14, 0x20000000, TICKET, EncryptedData(18, None, bytes(range(180))))
AP_REP = ApRep(5, 15, EncryptedData(18, None, bytes(range(111))))
KEY = EncryptionKey(18, bytes(range(32)))
AUTHORIZATION = AuthorizationElement(1, bytes(40))
BODY = KdcReqBody(
    0x40810010,
    ALICE,
    "EXAMPLE.COM",
    PrincipalName(2, ("krbtgt", "EXAMPLE.COM")),
    None,
    LATER,
    LATER,
    0xDEADBEEF,
    (20, 19, 18, 17, 23, -133),
    (HostAddress(2, bytes(4)),),
)
NEG_INIT = NegTokenInit((KRB5, MS_KRB5, NTLM), None, bytes(range(256)) * 2 + bytes(200))
NEG_RESP = NegTokenResp(NegState.ACCEPT_INCOMPLETE, KRB5, bytes(range(120)), bytes(28))

MESSAGES: dict[str, der.Message] = {
    "ap-req": AP_REQ,
    "ap-rep": AP_REP,
    "enc-ap-rep": EncApRepPart(NOW, 123456, KEY, 0xFFFFFFFF),
    "enc-ap-rep-short": EncApRepPart(NOW, 0),
    "authenticator": Authenticator(
        5, "EXAMPLE.COM", ALICE, Checksum(0x8003, bytes(24)), 999999, NOW, KEY, 17, AuthorizationData((AUTHORIZATION,))
    ),
    "enc-ticket": EncTicketPart(
        TicketFlags.INITIAL | TicketFlags.FORWARDABLE,
        KEY,
        "EXAMPLE.COM",
        ALICE,
        TransitedEncoding(1, b""),
        NOW,
        None,
        LATER,
        LATER,
        (HostAddress(2, bytes(4)), HostAddress(24, bytes(16))),
        AuthorizationData((AUTHORIZATION, AUTHORIZATION)),
    ),
    "as-req": AsReq(5, 10, (PaData(2, bytes(60)), PaData(149, b"")), BODY),
    "as-rep": AsRep(
        5, 11, (PaData(19, bytes(30)),), "EXAMPLE.COM", ALICE, TICKET.encode(), EncryptedData(18, 1, bytes(250))
    ),
    "enc-kdc-rep": EncAsRepPart(
        KEY, (LastReq(0, NOW),), 0x80000001, None, TicketFlags(0x40E10000), NOW, NOW, LATER, None, "EXAMPLE.COM", HTTP
    ),
    "krb-error": KrbError(5, 30, None, None, NOW, 5, 25, None, None, "EXAMPLE.COM", HTTP, "Prüfung", bytes(10)),
    "neg-init": NEG_INIT,
    "neg-init-hints": NegTokenInit((NTLM,), der.BitString(b"\xa0", 5), None, bytes.fromhex("3006a0041b026f6b"), b"mic"),
    "neg-resp": NEG_RESP,
    "neg-resp-empty": NegTokenResp(),
    "negotiation-token": NegotiationToken(NEG_RESP),
    "initial-token": InitialToken("1.3.6.1.5.5.2", NEG_INIT),
    "ts-request": TsRequest(6, (NegoData(b"NTLMSSP\0" + bytes(32)),), bytes(20), bytes(38), 0xC000006D, bytes(32)),
    "everything": Everything(
        b"",
        Colour.BLUE,
        True,
        8,
        "text",
        der.NullValue.NULL,
        (IssuerHint(b"issuer"),),
        b"deep",
        TICKET.encode(),
        NegTokenResp(7),
        -(1 << 2047),
        IssuerHint(b""),
        (bytes.fromhex("9f8b3f0100"), bytes.fromhex("ab023000")),
    ),
    "everything-least": Everything(b"", Colour.RED, False, 7, None, None, None, None, None, None, None, None),
}
