"""How each kind of published NTLM vector is recomputed: a check raises unless every octet of its vector is right."""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from securestream.channel_bindings import ChannelBindings
from securestream.options import Role
from securestream.wire.times import from_filetime
from securestream_providers.ntlm import crypto
from securestream_providers.ntlm.context import NtlmContext
from securestream_providers.ntlm.messages import (
    Authenticate,
    AvId,
    Challenge,
    ClientChallenge,
    Flag,
    Negotiate,
    av_flags,
    pack_pairs,
    unpack_pairs,
)

Vector: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[Vector], None]

LIMIT = 64
CLIENT, SERVER = Role.INITIATOR, Role.ACCEPTOR
ROLES = {"client": CLIENT, "server": SERVER}

# MS-NLMP 4.2.1: the inputs that all its examples share
USER, DOMAIN, PASSWORD, HOST, WORKSTATION = "User", "Domain", "Password", "Server", "COMPUTER"
SC = bytes.fromhex("0123456789abcdef")
CC = b"\xaa" * 8
RSK = b"\x55" * 16
CHALLENGE_VERSION = bytes.fromhex("060070170000000f")
CLIENT_VERSION = bytes.fromhex("0501280a0000000f")
FLAGS = {"v1-wrap": 0xE2028233, "v1ess-wrap": 0x820A8233, "v1ess-keys": 0x820A8233, "v2-wrap": 0xE28A8233}
NT = crypto.nt_hash(PASSWORD)
LM = crypto.lm_hash(PASSWORD) or b""
LM_V1 = crypto.desl(LM, SC)
TEMP_PAIRS = pack_pairs(
    ((AvId.NB_DOMAIN_NAME, DOMAIN.encode("utf-16-le")), (AvId.NB_COMPUTER_NAME, HOST.encode("utf-16-le")))
)


def octets(vector: Vector, name: str) -> bytes:
    return bytes.fromhex(vector[name])


def same(computed: object, expected: object) -> None:
    assert computed == expected


def blob(pairs: bytes = TEMP_PAIRS) -> bytes:
    return ClientChallenge(1, 1, 0, 0, 0, CC, 0, pairs + bytes(4)).pack()


def v2() -> tuple[bytes, bytes]:
    key = crypto.ntowf_v2(NT, USER, DOMAIN)
    return crypto.proof_v2(crypto.keyed_md5(key), SC, blob())


def v1_key(flags: int) -> bytes:
    return crypto.exchange_key(
        flags, crypto.md4(NT), version2=False, server_challenge=SC, lm_response=LM_V1, lm_session_key=LM[:8]
    )


def ess_key() -> bytes:
    return crypto.exchange_key(
        Flag.EXTENDED_SESSION_SECURITY,
        crypto.md4(NT),
        version2=False,
        server_challenge=SC,
        lm_response=CC + bytes(16),
        lm_session_key=None,
    )


def expects(compute: Callable[[], bytes], **given: Any) -> Check:
    def check(vector: Vector) -> None:
        for name, value in given.items():
            same(vector[name], value)
        same(compute(), octets(vector, "expected"))

    return check


def check_inputs(v: Vector) -> None:
    key = crypto.ntowf_v2(crypto.nt_hash(v["password"]), v["user"], v["domain"])
    pairs = (
        (AvId.NB_DOMAIN_NAME, v["domain"].encode("utf-16-le")),
        (AvId.NB_COMPUTER_NAME, v["server"].encode("utf-16-le")),
    )
    time = int.from_bytes(octets(v, "time"), "little")
    temp = ClientChallenge(1, 1, 0, 0, time, octets(v, "client_challenge"), 0, pack_pairs(pairs) + bytes(4)).pack()
    same(crypto.proof_v2(crypto.keyed_md5(key), octets(v, "server_challenge"), temp), v2())
    same((v["workstation"], octets(v, "random_session_key")), (WORKSTATION, RSK))


def check_wrap(v: Vector) -> None:
    flags = int(v["flags"], 16)
    same(flags, FLAGS[v["id"]])
    session_key, plaintext = octets(v, "exported_session_key"), octets(v, "plaintext")
    same(crypto.sealing_key(flags, session_key, CLIENT), octets(v, "seal_key"))
    if "sign_key" in v:
        same(crypto.signing_key(session_key, CLIENT), octets(v, "sign_key"))
    token = octets(v, "signature") + octets(v, "ciphertext")
    same(NtlmContext(CLIENT, flags, session_key).wrap(plaintext), token)
    same(NtlmContext(SERVER, flags, session_key).unwrap(token).data, plaintext)


def check_keys(v: Vector) -> None:
    flags, key = int(v["flags"], 16), octets(v, "exported_session_key")
    same(flags, FLAGS[v["id"]])
    same(crypto.sealing_key(flags, key, CLIENT), octets(v, "client_seal_key"))
    same(crypto.signing_key(key, CLIENT), octets(v, "client_sign_key"))


def check_seal_key(v: Vector) -> None:
    same(int(v["flags"], 16) & ~Flag.EXTENDED_SESSION_SECURITY, int(v["id"].split("-")[2], 16))
    same(bool(int(v["flags"], 16) & Flag.EXTENDED_SESSION_SECURITY), "-ess-" in v["id"])
    same(octets(v, "session_key"), RSK)  # of the shorter keys not every octet matters
    role = ROLES[v.get("role", "client")]
    same(crypto.sealing_key(int(v["flags"], 16), octets(v, "session_key"), role), octets(v, "expected"))


def check_sign_key(v: Vector) -> None:
    same(crypto.signing_key(octets(v, "session_key"), ROLES[v["role"]]), octets(v, "expected"))


def check_challenge(v: Vector) -> None:
    if v["id"] == "msg-v1-challenge":
        due = Challenge(HOST.encode("utf-16-le"), 0xE2028233, SC, version=CHALLENGE_VERSION)
        empty_target_info_offset = 44  # the published octets leave it zero: it says nothing where the length is zero
        packed = bytearray(due.pack())
        packed[empty_target_info_offset : empty_target_info_offset + 4] = bytes(4)
        same(bytes(packed), octets(v, "message"))
    else:
        target = HOST.encode("utf-16-le")
        due = Challenge(target, 0xE28A8233, SC, target_info=TEMP_PAIRS, version=CHALLENGE_VERSION)
        same(due.pack(), octets(v, "message"))
    same(Challenge.unpack(octets(v, "message")), due)


def check_authenticate(v: Vector) -> None:
    flags = 0xE2808235 if v["id"] == "msg-v1-authenticate" else 0xE2888235
    same(int(v["flags"], 16), flags)
    if v["id"] == "msg-v1-authenticate":
        responses, key = (LM_V1, crypto.desl(NT, SC)), v1_key(0)
    else:
        ntowf = crypto.keyed_md5(crypto.ntowf_v2(NT, USER, DOMAIN))
        proof, key = v2()
        responses = (crypto.proof_v2(ntowf, SC, CC)[0] + CC, proof + blob())
    due = Authenticate(
        lm_response=responses[0],
        nt_response=responses[1],
        domain=DOMAIN.encode("utf-16-le"),
        user=USER.encode("utf-16-le"),
        workstation=WORKSTATION.encode("utf-16-le"),
        encrypted_session_key=crypto.rc4(key).update(RSK),
        flags=flags,
        version=CLIENT_VERSION,
    )
    same(due.pack(), octets(v, "message"))
    same(Authenticate.unpack(octets(v, "message")), due)


def check_windows7(v: Vector) -> None:
    raw_challenge, raw_answer = octets(v, "challenge_message"), octets(v, "authenticate_message")
    challenge, answer = Challenge.unpack(raw_challenge), Authenticate.unpack(raw_answer)
    same((challenge.pack(), answer.pack()), (raw_challenge, raw_answer))
    hash_ = crypto.nt_hash(v["password"])
    same(hash_, octets(v, "nt_hash"))
    same((answer.user, answer.domain), (v["user"].encode("utf-16-le"), v["domain"].encode("utf-16-le")))
    windows7 = bytes.fromhex("0601b01d0000000f")
    same((challenge.version, answer.version, challenge.reserved), (windows7, windows7, bytes(8)))
    same((challenge.flags, answer.flags), (0xA2898205, 0xA2888205))
    same((answer.workstation.decode("utf-16-le"), answer.encrypted_session_key), ("WIN7-2-PC", b""))
    same((answer.lm_response, v["lm_response"]), (bytes(24), "24 zero octets"))
    key = crypto.ntowf_v2(hash_, v["user"], v["domain"])
    proof, session = crypto.proof_v2(crypto.keyed_md5(key), challenge.server_challenge, answer.nt_response[16:])
    same((proof, session), (answer.nt_response[:16], octets(v, "session_base_key")))
    client = ClientChallenge.unpack(answer.nt_response[16:])
    sent, repeated = unpack_pairs(challenge.target_info or b"", LIMIT), unpack_pairs(client.pairs, LIMIT)
    same(pack_pairs(sent.items()), challenge.target_info)
    same({k: repeated.get(k) for k in sent}, sent)
    same(sent[AvId.NB_DOMAIN_NAME], challenge.target_name)
    same(client.timestamp.to_bytes(8, "little"), sent[AvId.TIMESTAMP])
    assert from_filetime(client.timestamp) is not None
    same(repeated[AvId.CHANNEL_BINDINGS], octets(v, "av_channel_bindings"))
    same(repeated[AvId.TARGET_NAME].decode("utf-16-le"), v["av_target_name_text"])
    same((repeated[AvId.FLAGS], av_flags(repeated)), (octets(v, "av_flags"), 2))
    same(answer.mic, octets(v, "mic"))


def check_ntowf_v2(v: Vector) -> None:
    hash_ = crypto.nt_hash(v["password"])
    if "nt_hash" in v:
        same(hash_, octets(v, "nt_hash"))
    expected = octets(v, "ntowfv2" if "ntowfv2" in v else "expected")
    same(crypto.ntowf_v2(hash_, v["user"], v["domain"]), expected)


def check_binding(v: Vector) -> None:
    bindings = ChannelBindings(octets(v, "application_data"))
    same(bindings.application_data, b"tls-server-end-point:" + octets(v, "cert_hash"))
    same((bindings.gss_structure(), bindings.md5()), (octets(v, "gss_struct"), octets(v, "expected")))


def check_exchange(v: Vector) -> None:
    """A whole exchange whose AUTHENTICATE has no MIC, with the tokens that followed it."""
    raw = octets(v, "negotiate"), octets(v, "challenge"), octets(v, "authenticate")
    negotiate, challenge, answer = Negotiate.unpack(raw[0]), Challenge.unpack(raw[1]), Authenticate.unpack(raw[2])
    names = (answer.user.decode("utf-16-le"), answer.domain.decode("utf-16-le"))
    same(names, (v["user"], v["domain"]))
    key = crypto.ntowf_v2(crypto.nt_hash(v["password"]), *names)
    proof, session = crypto.proof_v2(crypto.keyed_md5(key), challenge.server_challenge, answer.nt_response[16:])
    same(proof, answer.nt_response[:16])
    exported = crypto.rc4(session).update(answer.encrypted_session_key)
    same(exported, octets(v, "exported_session_key"))
    flags = int(v["flags"], 16)
    assert negotiate.flags & Flag.SEAL
    same(flags, answer.flags)
    pairs = unpack_pairs(ClientChallenge.unpack(answer.nt_response[16:]).pairs, LIMIT)
    data = v.get("channel_bindings_application_data")
    application_data = bytes.fromhex(data) if data else b"tls-server-end-point:" + octets(v, "cert_hash")
    same(pairs[AvId.CHANNEL_BINDINGS], ChannelBindings(application_data).md5())
    client, server = NtlmContext(CLIENT, flags, exported), NtlmContext(SERVER, flags, exported)
    if "wrap_plaintext_text" in v:
        same(client.wrap(v["wrap_plaintext_text"].encode()), octets(v, "wrapped_signature_then_data"))
        return
    message = v["message_text"].encode()
    same((client.wrap(message), client.sign(message)), (octets(v, "client_wrap"), octets(v, "client_mic")))
    same((server.wrap(message), server.sign(message)), (octets(v, "server_wrap"), octets(v, "server_mic")))


def check_primitive(v: Vector) -> None:
    kind = v["op"].split()[0]
    if kind == "MD4":
        same(crypto.md4(octets(v, "input")), octets(v, "output"))
    elif kind == "RC4":
        check_keystream(v)
    elif kind == "HMAC-MD5":
        same(crypto.hmac_md5(octets(v, "key"), octets(v, "input")), octets(v, "output"))
        same(hmac.digest(octets(v, "key"), octets(v, "input"), "md5"), octets(v, "output"))
    elif kind == "CRC-32":
        same(zlib.crc32(octets(v, "input")).to_bytes(4, "little"), octets(v, "output"))
    else:
        same(v["op"], "DES-ECB")
        check_des(v)


def check_keystream(v: Vector) -> None:
    stream = crypto.rc4(octets(v, "key")).update(bytes(4112))
    for place in v["keystream"]:
        expected = bytes.fromhex(place["bytes"])
        same(stream[place["offset"] : place["offset"] + len(expected)], expected)


def check_des(v: Vector) -> None:
    """DES with 8 octets of key; NTLM's 7 octets are those without their parity bits."""
    bits = "".join(f"{octet >> 1:07b}" for octet in octets(v, "key"))
    same(crypto.des(int(bits, 2).to_bytes(7, "big"), octets(v, "plaintext")), octets(v, "ciphertext"))


V1_NT = crypto.desl(NT, SC)
BY_ID: dict[str, Check] = {
    "nlmp-4.2.1-inputs": check_inputs,
    "lmowfv1": expects(lambda: LM, password=PASSWORD),
    "ntowfv1": expects(lambda: NT, password=PASSWORD),
    "v1-session-base-key": expects(lambda: crypto.md4(NT)),
    "v1-nt-response": expects(lambda: V1_NT),
    "v1-lm-response": expects(lambda: LM_V1),
    "v1-kek-lmkey": expects(lambda: v1_key(Flag.LM_KEY)),
    "v1-kek-nonnt": expects(lambda: v1_key(Flag.REQUEST_NON_NT_SESSION_KEY)),
    "v1-enckey": expects(lambda: crypto.rc4(v1_key(0)).update(RSK)),
    "v1-enckey-nonnt": expects(lambda: crypto.rc4(v1_key(Flag.REQUEST_NON_NT_SESSION_KEY)).update(RSK)),
    "v1-enckey-lmkey": expects(lambda: crypto.rc4(v1_key(Flag.LM_KEY)).update(RSK)),
    "v1-wrap": check_wrap,
    "v1ess-nt-response": expects(lambda: crypto.desl(NT, crypto.ess_challenge(SC, CC))),
    "v1ess-lm-response": expects(lambda: CC + bytes(16)),
    "v1ess-kek": expects(ess_key),
    "v1ess-wrap": check_wrap,
    "v1ess-keys": check_keys,
    "ntowfv2": expects(lambda: crypto.ntowf_v2(NT, USER, DOMAIN)),
    "v2-temp": expects(blob),
    "v2-lm-response": expects(
        lambda: crypto.proof_v2(crypto.keyed_md5(crypto.ntowf_v2(NT, USER, DOMAIN)), SC, CC)[0] + CC
    ),
    "v2-ntproofstr": expects(lambda: v2()[0]),
    "v2-session-base-key": expects(lambda: v2()[1]),
    "v2-enckey": expects(lambda: crypto.rc4(v2()[1]).update(RSK)),
    "v2-wrap": check_wrap,
    "msg-v1-challenge": check_challenge,
    "msg-v2-challenge": check_challenge,
    "msg-v1-authenticate": check_authenticate,
    "msg-v2-authenticate": check_authenticate,
    "capture-win7-cbt": check_windows7,
    "cbt-md5": check_binding,
    "ntlmauth-ntlm_context": check_exchange,
    "gss-ntlmssp-live-raw": check_exchange,
}
BY_PREFIX: dict[str, Check] = {
    "sealkey-": check_seal_key,
    "signkey-": check_sign_key,
    "ntowfv2-": check_ntowf_v2,
    "md4-": check_primitive,
    "rc4-": check_primitive,
    "hmac-md5-": check_primitive,
    "crc32-": check_primitive,
    "des-": check_primitive,
}


def check_of(vector: Vector) -> Check | None:
    """How this vector is recomputed; `None` where nothing here knows it."""
    found = BY_ID.get(vector["id"])
    return found or next((check for prefix, check in BY_PREFIX.items() if vector["id"].startswith(prefix)), None)
