"""SASL with Cyrus SASL (libsasl2), which is the client or the server: every mechanism and layer that it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from securestream.ambient import system_options
from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts, Credential, Keytab, Password
from securestream.drive import Services
from securestream.errors import SecureStreamError
from securestream.options import ContextFlags, Options, Protection
from securestream.sasl import Gs2Krb5, Gssapi, GssSpnego, SaslClient, SaslMechanism, SaslServer, ScramSha256
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest import Cipher, DigestMd5, Subsequent
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.interop.cyrus_ends import HOST, Meeting, exchange_data, log_on_to, refuse_altered_data, serve
from tests.interop.expected_sasl_cyrus import CIPHERS, CYRUS
from tests.interop.expected_sasl_mit import LAYERS, SASL
from tests.interop.kerberos_ends import PASSWORD as KERBEROS_PASSWORD
from tests.interop.kerberos_ends import Realm, service_of
from tests.interop.matrix import Filler
from tests.interop.peers import cyrus as peers
from tests.interop.peers import gssapi as gss_ntlmssp
from tests.interop.peers.accounts import DOMAIN, NAME, USER, ntlm_environment
from tests.interop.peers.cyrus import CyrusPeer, add_user
from tests.interop.peers.foreign import Refused
from tests.interop.peers.mit_kdc import MitKdc

pytestmark = pytest.mark.interop

REALM = "corp.example"
PASSWORD = "correct horse"
NAMES = ("alice", "proxy", "Jäsøn", "\N{HEBREW LETTER ALEF}lef")
CHANNEL = b"tls-exporter:" + bytes(range(32))
OTHER_CHANNEL = b"tls-exporter:" + bytes(32)
LEVELS = dict(zip(LAYERS, Protection, strict=True))
STRENGTHS = {"auth": 0, "auth-int": 1, "rc4-40": 40, "des": 55, "rc4-56": 56, "3des": 112, "rc4": 128}
"""By which Cyrus SASL is told what is wanted ("ssf")."""
KERBEROS_STRENGTHS = {"none": (0, 0), "integrity": (1, 1), "confidentiality": (2, 256)}
LOG_ON = "as alice"


@dataclass
class World:
    """Both ends' accounts and keys, and their end.

    Args:
        theirs: their end.
        realm: of Kerberos.
        version: of their library.
    """

    theirs: CyrusPeer
    realm: Realm
    version: str

    def meet(self, role: str, ours: SaslMechanism, protection: Protection = Protection.NONE, **more: Any) -> Meeting:
        """An exchange.

        Args:
            role: theirs.
            ours: our mechanism.
            protection: what we ask.
            more: "who" and "verify", our credentials; "target", "bindings" and "services" of ours; what is asked of
                them.
        """
        bound = more.pop("bindings", None)
        options = system_options(
            protection=protection,
            flags=ContextFlags.MUTUAL if role == "server" else ContextFlags.NONE,
            channel_bindings=None if bound is None else ChannelBindings(bound),
        )
        who: Credential = more.pop("who", Password("alice", PASSWORD))
        verify: Credential | None = more.pop("verify", None)
        services: Services | None = more.pop("services", None)
        if bound is not None:
            more["bindings"] = more.pop("their_bindings")
        more.setdefault("service", "ldap")
        if role == "server":
            client = SaslClient(ours, options=options, credential=who, target=f"{more['service']}/{HOST}")
            for name in ("user", "password", "authzid"):
                more.pop(name, None)
            return log_on_to(self.theirs, client, services, realm=REALM, **more)
        more.setdefault("user", "alice")
        more.setdefault("password", PASSWORD)
        return self._serve(ours, options, verify or accounts(), services, more)

    def _serve(
        self, ours: SaslMechanism, options: Options, verify: Credential, services: Services | None, more: dict[str, Any]
    ) -> Meeting:
        server = SaslServer(ours, options=options, credential=verify, additional_data=more.get("success_data", False))
        return serve(self.theirs, server, services, **more)

    def logged_on(self, role: str, met: Meeting) -> str:
        """Who the server sees, without his realm."""
        name: str = self.theirs.state()["user"].partition("@")[0] if role == "server" else met.ours.peer.name
        return name


def accounts() -> Accounts:
    """Our server's accounts."""
    store = MemoryAccounts()
    for name in NAMES:
        store.add(name, PASSWORD)
    return Accounts(store)


@pytest.fixture(scope="module")
def world(
    require: Callable[[ModuleType], str], mit_kdc: MitKdc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A realm of MIT's, a database of theirs, and one process."""
    version = require(peers)
    realm = Realm(mit_kdc)
    realm.populate()
    database: Path = tmp_path_factory.mktemp("sasldb") / "sasldb2"
    for name in NAMES:
        add_user(database, name, PASSWORD, REALM)
    options = {"auxprop_plugin": "sasldb", "sasldb_path": str(database), "reauth_timeout": "5"}
    with CyrusPeer(options, realm.environment(18)) as theirs:
        yield World(theirs, realm, version)


roles = pytest.mark.parametrize("role", ["client", "server"])
profiles = pytest.mark.parametrize("success_data", [False, True])
"""Whether the profile carries data with success."""


def digest_md5(**more: Any) -> DigestMd5:
    """Our DIGEST-MD5."""
    return DigestMd5(realms=[REALM], services=["ldap"], **more)


def _within(strength: int) -> dict[str, Any]:
    return {"min_ssf": strength, "max_ssf": strength}


# --- DIGEST-MD5


@roles
@profiles
@pytest.mark.parametrize("quality", ["auth", "auth-int", *CIPHERS])
def test_digest_md5(world: World, matrix: Filler, role: str, success_data: bool, quality: str) -> None:
    strength = STRENGTHS[quality]
    ciphers = [cipher for cipher in Cipher if cipher.token == quality] or [Cipher.RC4]
    protection = Protection(min(strength, 2))
    met = world.meet(role, digest_md5(ciphers=ciphers), protection, success_data=success_data, **_within(strength))
    assert world.logged_on(role, met) == "alice"
    assert world.theirs.state()["ssf"] == strength
    assert met.layer.protection is protection
    exchange_data(world.theirs, met.layer)
    option = f"auth-conf {quality}" if strength > 1 else quality
    matrix.fill(SASL, CYRUS, world.version, role, f"DIGEST-MD5, {option}", f"{LOG_ON}, data each way")


@roles
def test_digest_md5_with_3des(world: World, matrix: Filler, role: str) -> None:
    """Their library agrees on it and cannot start its cipher where it is built on OpenSSL 3."""
    with pytest.raises(Refused, match="3des"):
        world.meet(
            role, digest_md5(ciphers=[Cipher.TRIPLE_DES]), Protection.ENCRYPT_AND_SIGN, **_within(STRENGTHS["3des"])
        )
    matrix.fill(SASL, CYRUS, world.version, role, "DIGEST-MD5, auth-conf 3des", "agreed; their cipher does not start")


@roles
def test_digest_md5_by_default(world: World, role: str) -> None:
    """What both ends choose when nobody names a cipher works."""
    met = world.meet(role, digest_md5(), Protection.ENCRYPT_AND_SIGN)
    exchange_data(world.theirs, met.layer)


@roles
def test_digest_md5_subsequent(world: World, matrix: Filler, role: str) -> None:
    subsequent, services = Subsequent(), Services()
    ours = digest_md5(subsequent=subsequent)
    met = [world.meet(role, ours, success_data=True, services=services, **_within(STRENGTHS["auth"])) for _ in range(3)]
    assert [b"nc=00000003" in one.tokens[0] for one in met] == [False, False, True]
    assert len(met[2].tokens) == 2
    assert world.logged_on(role, met[2]) == "alice"
    seen = "the second and third without a challenge"
    matrix.fill(SASL, CYRUS, world.version, role, "DIGEST-MD5, subsequent authentication", seen)


@roles
def test_digest_md5_authorisation_identity(world: World, matrix: Filler, role: str) -> None:
    def authorize(principal: object, authzid: str) -> bool:
        return "proxy" in str(principal) and authzid == "bob"

    def meet(user: str) -> Meeting:
        ours = digest_md5(authorize=authorize, authzid="bob" if role == "server" else "")
        return world.meet(role, ours, who=Password(user, PASSWORD), user=user, authzid="bob")

    met = meet("proxy")
    assert met.layer.authzid == "bob"
    assert role == "client" or world.logged_on(role, met) == "bob"
    with pytest.raises((Refused, SecureStreamError)):
        meet("alice")
    matrix.fill(SASL, CYRUS, world.version, role, "DIGEST-MD5, authorisation identity", "who may acts as bob")


@roles
def test_digest_md5_letters(world: World, matrix: Filler, role: str) -> None:
    for name in NAMES[2:]:
        met = world.meet(role, digest_md5(), who=Password(name, PASSWORD), user=name)
        assert world.logged_on(role, met) == name
    matrix.fill(
        SASL, CYRUS, world.version, role, "DIGEST-MD5, letters of ISO 8859-1 and beyond", "under names of either"
    )


@roles
def test_digest_md5_small_buffers(world: World, matrix: Filler, role: str) -> None:
    met = world.meet(
        role, digest_md5(max_buffer=300), Protection.ENCRYPT_AND_SIGN, max_buffer=400, **_within(STRENGTHS["rc4"])
    )
    assert met.layer.max_plaintext < 400
    assert world.theirs.state()["longest"] < 300
    exchange_data(world.theirs, met.layer, sizes=(1, 200))
    matrix.fill(SASL, CYRUS, world.version, role, "DIGEST-MD5, small buffers", "neither end sends too much")


# --- wrong passwords, altered data


@roles
@pytest.mark.parametrize("ours", [digest_md5(), ScramSha256()], ids=lambda ours: ours.info.name)
def test_wrong_password(world: World, matrix: Filler, role: str, ours: SaslMechanism) -> None:
    with pytest.raises(Refused if role == "server" else SecureStreamError):
        world.meet(role, ours, who=Password("alice", "wrong"), password="wrong")
    matrix.fill(SASL, CYRUS, world.version, role, f"{ours.info.name}, wrong password", "refused")


def _kerberos(world: World, name: str) -> tuple[SaslMechanism, dict[str, Any]]:
    """A mechanism over Kerberos, and what it is met with."""
    package = world.realm.package()
    made: dict[str, SaslMechanism] = {
        "GSSAPI": Gssapi(package),
        "GSS-SPNEGO": GssSpnego(Negotiate(package)),
        "GS2-KRB5": Gs2Krb5(package),
        "GS2-KRB5-PLUS": Gs2Krb5(package, plus=True),
    }
    met = {
        "who": Password(world.realm.user, KERBEROS_PASSWORD),
        "verify": Keytab(world.realm.kdc.default_keytab),
        "service": service_of(18),
    }
    return made[name], met


@roles
@pytest.mark.parametrize("name", ["DIGEST-MD5", "GSSAPI", "GSS-SPNEGO"])
def test_altered_data(world: World, matrix: Filler, role: str, name: str) -> None:
    ours, more = (digest_md5(), {}) if name == "DIGEST-MD5" else _kerberos(world, name)
    met = world.meet(role, ours, Protection.ENCRYPT_AND_SIGN, **more)
    refuse_altered_data(world.theirs, met.layer)
    matrix.fill(SASL, CYRUS, world.version, role, f"{name}, altered data", "refused by each end")


# --- Kerberos


@roles
@profiles
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["GSSAPI", "GSS-SPNEGO"])
def test_kerberos(world: World, matrix: Filler, role: str, success_data: bool, layer: str, name: str) -> None:
    """GSS-SPNEGO agrees on nothing: its layer is what the context gives, which may be more than was asked."""
    ours, more = _kerberos(world, name)
    least, most = KERBEROS_STRENGTHS[layer]
    met = world.meet(role, ours, LEVELS[layer], success_data=success_data, min_ssf=least, max_ssf=most, **more)
    assert world.logged_on(role, met) == "alice"
    assert met.layer.protection is LEVELS[layer] if name == "GSSAPI" else met.layer.protection >= LEVELS[layer]
    assert min(world.theirs.state()["ssf"], 2) == met.layer.protection
    exchange_data(world.theirs, met.layer)
    seen = {0: LOG_ON, 1: f"{LOG_ON}, signed each way", 2: f"{LOG_ON}, sealed each way"}[met.layer.protection]
    matrix.fill(SASL, CYRUS, world.version, role, f"{name}, {layer}", seen)


@roles
def test_gss_spnego_with_ntlm(require: Callable[[ModuleType], str], matrix: Filler, tmp_path: Path, role: str) -> None:
    """Through gss-ntlmssp. It seals where only integrity was agreed, so that this has no cell of its own."""
    version = require(peers)
    require(gss_ntlmssp)
    (tmp_path / "krb5.conf").touch()
    ticketless = {"KRB5_CONFIG": str(tmp_path / "krb5.conf"), "KRB5CCNAME": f"FILE:{tmp_path / 'none'}"}
    account = Password(NAME, PASSWORD)
    ours = GssSpnego(Negotiate(Ntlm(), ntlm="always"))
    options = system_options(flags=ContextFlags.MUTUAL if role == "server" else ContextFlags.NONE)
    with CyrusPeer({}, {**ntlm_environment(tmp_path, {(DOMAIN, USER): PASSWORD}), **ticketless}) as theirs:
        if role == "server":
            client = SaslClient(ours, options=options, credential=account, target=f"ldap/{HOST}")
            met = log_on_to(theirs, client, service="ldap")
            assert theirs.state()["user"] == NAME
        else:
            server = SaslServer(ours, options=options, credential=Accounts.memory(**{NAME: PASSWORD}))
            met = serve(theirs, server, service="ldap")
            assert str(met.ours.peer) == NAME
        exchange_data(theirs, met.layer)
    matrix.fill(SASL, CYRUS, version, role, "GSS-SPNEGO, NTLM", "as alice, sealed each way")


@roles
@profiles
@pytest.mark.parametrize("plus", [False, True])
def test_gs2_krb5(world: World, matrix: Filler, role: str, success_data: bool, plus: bool) -> None:
    name = "GS2-KRB5-PLUS" if plus else "GS2-KRB5"
    ours, more = _kerberos(world, name)
    met = world.meet(role, ours, success_data=success_data, **_bound(plus, CHANNEL), **more)
    assert world.logged_on(role, met) == "alice"
    assert met.layer.bound is plus
    matrix.fill(SASL, CYRUS, world.version, role, name, LOG_ON)


def _bound(plus: bool, theirs: bytes) -> dict[str, Any]:
    return {"bindings": CHANNEL, "their_bindings": theirs} if plus else {}


# --- SCRAM


@roles
@profiles
@pytest.mark.parametrize("plus", [False, True])
def test_scram(world: World, matrix: Filler, role: str, success_data: bool, plus: bool) -> None:
    met = world.meet(role, ScramSha256(plus=plus), success_data=success_data, **_bound(plus, CHANNEL))
    assert world.logged_on(role, met) == "alice"
    assert met.layer.bound is plus
    matrix.fill(SASL, CYRUS, world.version, role, f"SCRAM-SHA-256{'-PLUS' if plus else ''}", LOG_ON)


@roles
def test_scram_authorisation_identity(world: World, matrix: Filler, role: str) -> None:
    def authorize(principal: object, authzid: str) -> bool:
        return authzid == "b=o,b"

    ours = ScramSha256(authorize=authorize, authzid="b=o,b" if role == "server" else "")
    met = world.meet(role, ours, who=Password("proxy", PASSWORD), user="proxy", authzid="b=o,b")
    assert met.layer.authzid == "b=o,b"
    matrix.fill(SASL, CYRUS, world.version, role, "SCRAM-SHA-256, authorisation identity", "with = and , escaped")


@roles
@pytest.mark.parametrize("name", ["GS2-KRB5-PLUS", "SCRAM-SHA-256-PLUS"])
def test_another_channel_is_refused(world: World, matrix: Filler, role: str, name: str) -> None:
    ours, more = (ScramSha256(plus=True), {}) if name.startswith("SCRAM") else _kerberos(world, name)
    with pytest.raises(Refused if role == "server" else SecureStreamError):
        world.meet(role, ours, **_bound(True, OTHER_CHANNEL), **more)
    matrix.fill(SASL, CYRUS, world.version, role, f"{name}, wrong channel", "refused")
