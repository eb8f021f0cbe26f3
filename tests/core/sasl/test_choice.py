"""The mechanisms by name, what a server offers, and what a client chooses."""

from __future__ import annotations

from typing import Any

import pytest

from securestream.credentials import Certificate, Credentials, Password
from securestream.errors import NoCommonMechanism, UsageError
from securestream.options import BindingPolicy, Protection, Role
from securestream.registry import Registry
from securestream.sasl import (
    External,
    Gs2Krb5,
    Gssapi,
    GssSpnego,
    SaslMechanism,
    ScramSha256,
    choose,
    find_mechanism,
    mechanisms,
    offered,
)
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.core.sasl.ends import ALICE, BINDINGS, NONE, SEAL, SIGN, Realm, accounts, kerberos, options

PACKAGES = Registry.of(kerberos(), Negotiate(Ntlm()))
EVERY = {name: make() for name, make in mechanisms(PACKAGES).items()}
NAMES = (
    *("EXTERNAL", "GS2-KRB5-PLUS", "GSSAPI", "GSS-SPNEGO"),
    *("SCRAM-SHA-256-PLUS", "GS2-KRB5", "SCRAM-SHA-256"),
)
BOUND = options(channel_bindings=BINDINGS)


def test_the_mechanisms_that_are_on_by_default_strongest_first() -> None:
    assert tuple(EVERY) == NAMES
    for name, one in EVERY.items():
        assert one.info.name == name
        assert one.client_first
    assert tuple(mechanisms(Registry.of())) == ("EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")


def test_no_weak_mechanism_is_on_by_default() -> None:
    assert not {"DIGEST-MD5", "CRAM-MD5", "PLAIN", "LOGIN", "ANONYMOUS", "NTLM"} & set(mechanisms())


def test_each_is_a_sasl_mechanism() -> None:
    assert all(isinstance(one, SaslMechanism) for one in EVERY.values())
    assert not isinstance(Ntlm(), SaslMechanism)


def test_one_is_found_by_its_name_in_any_case() -> None:
    assert isinstance(find_mechanism("gs2-krb5-plus", PACKAGES), Gs2Krb5)
    with pytest.raises(UsageError, match=r"'X-NONE'.*GSSAPI"):
        find_mechanism("X-NONE", PACKAGES)


class _Point:
    name, value = "X-WEAK", "somewhere:weak"

    def __init__(self, made: Any) -> None:
        self._made = made

    def load(self) -> Any:
        if isinstance(self._made, Exception):
            raise self._made
        return self._made


@pytest.mark.parametrize("made", [ScramSha256, ImportError("not there"), AttributeError("nor that")])
def test_others_are_announced_by_distributions_and_used_by_name_alone(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry_points(*, group: str) -> list[_Point]:
        return [_Point(made)] if group == "securestream.sasl" else []

    monkeypatch.setattr("securestream.sasl.choice.entry_points", entry_points)
    assert "X-WEAK" not in mechanisms(PACKAGES)
    if isinstance(made, Exception):
        with pytest.raises(UsageError, match="somewhere:weak"):
            find_mechanism("X-Weak", PACKAGES)
    else:
        assert isinstance(find_mechanism("X-Weak", PACKAGES), ScramSha256)


def name_of(at_server: Any, credential: Any = ALICE, asked: Any = None) -> str:
    return choose(at_server, credential, asked or options(), EVERY.values()).info.name


def test_the_strongest_that_the_server_offers_is_chosen() -> None:
    everything = Credentials(ALICE, Certificate(b"-"))
    left = list(NAMES)
    chosen: list[str] = []
    while left:
        chosen.append(name_of(left, everything, BOUND))
        left.remove(chosen[-1])
        if chosen[-1].endswith("-PLUS"):
            assert name_of([*left, chosen[-1]], ALICE, options()) != chosen[-1]
    assert tuple(chosen) == NAMES


def test_names_are_compared_without_regard_to_case_and_order() -> None:
    assert name_of(["scram-sha-256", "Gssapi"]) == "GSSAPI"


def test_what_a_server_offers_beside_them_is_named() -> None:
    """So that who has an old server learns which mechanism is to be named; nothing else of the server's is shown."""
    with pytest.raises(NoCommonMechanism) as failed:
        name_of(["Plain", "DIGEST-MD5", "EXTERNAL", "\x1b[31m", "X" * 21])
    told = str(failed.value)
    for name in ("PLAIN", "DIGEST-MD5"):
        assert f"{name}: passed over: the server offers it, and it is none of those that may be used here" in told
    assert "SCRAM-SHA-256: passed over: the server does not offer it" in told
    assert "\x1b" not in told
    assert "X" * 21 not in told


def test_names_in_one_text_are_a_mistake() -> None:
    with pytest.raises(UsageError, match="split it"):
        name_of("GSSAPI SCRAM-SHA-256")


def test_what_a_credential_cannot_do_is_passed_over() -> None:
    assert name_of(NAMES, ALICE) == "GSSAPI"
    assert name_of(NAMES, Realm().tickets()) == "GSSAPI"
    assert name_of(NAMES, Certificate(b"-")) == "EXTERNAL"
    assert choose(NAMES, ALICE, options(), [ScramSha256(), External()]).info.name == "SCRAM-SHA-256"


@pytest.mark.parametrize("protection", [SIGN, SEAL])
def test_a_layer_that_is_asked_for_leaves_out_what_has_none(protection: Protection) -> None:
    asked = options(protection, channel_bindings=BINDINGS)
    assert name_of(NAMES, ALICE, asked) == "GSSAPI"
    with pytest.raises(NoCommonMechanism, match="no security layer"):
        name_of(["SCRAM-SHA-256", "GS2-KRB5-PLUS", "EXTERNAL"], ALICE, asked)


def test_a_client_that_could_bind_does_not_use_the_plain_form_where_plus_is_offered() -> None:
    both = ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]
    with pytest.raises(NoCommonMechanism, match="SCRAM-SHA-256-PLUS, which must then be used"):
        choose(both, ALICE, BOUND, [ScramSha256()])
    assert isinstance(choose(both, ALICE, options(), [ScramSha256()]), ScramSha256)


def test_where_nothing_is_left_the_reasons_are_told() -> None:
    with pytest.raises(NoCommonMechanism) as failed:
        name_of(["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "X-OTHER"], None)
    text = str(failed.value)
    for reason in (
        "GSSAPI: passed over: the server does not offer it",
        "SCRAM-SHA-256-PLUS: passed over: there is no TLS channel to bind to",
        "SCRAM-SHA-256: passed over: a SCRAM client needs a Password",
    ):
        assert reason in text
    negotiation = failed.value.negotiation
    assert negotiation is not None
    assert negotiation.role is Role.INITIATOR
    assert "X-OTHER" in negotiation.offered


def test_without_a_list_of_ones_own_all_that_is_installed_is_looked_at() -> None:
    assert choose(["SCRAM-SHA-256"], Password("a", "b"), options()).info.name == "SCRAM-SHA-256"


def names_offered(credential: Any, asked: Any) -> list[str]:
    return [one.info.name for one in offered(reversed(EVERY.values()), credential, asked)]


def test_a_server_offers_what_it_can_verify() -> None:
    both = Credentials(Realm().keytab, accounts())
    assert names_offered(accounts(), options()) == ["GSS-SPNEGO", "SCRAM-SHA-256"]
    assert names_offered(both, options()) == ["GSSAPI", "GSS-SPNEGO", "GS2-KRB5", "SCRAM-SHA-256"]
    assert names_offered(both, BOUND) == list(NAMES[1:])
    assert names_offered(both, options(SEAL, channel_bindings=BINDINGS)) == ["GSSAPI", "GSS-SPNEGO"]


def test_a_server_that_demands_bindings_offers_plus_alone() -> None:
    both = Credentials(Realm().keytab, accounts())
    always = options(channel_bindings=BINDINGS, binding_policy=BindingPolicy.ALWAYS)
    assert names_offered(both, always) == ["GS2-KRB5-PLUS", "GSSAPI", "GSS-SPNEGO", "SCRAM-SHA-256-PLUS"]
    never = options(channel_bindings=BINDINGS, binding_policy=BindingPolicy.NEVER)
    assert names_offered(both, never) == ["GSSAPI", "GSS-SPNEGO", "GS2-KRB5", "SCRAM-SHA-256"]


def test_what_has_no_such_role_is_not_offered_nor_chosen() -> None:
    class ClientOnly(ScramSha256):
        @property
        def info(self) -> Any:
            from dataclasses import replace

            return replace(super().info, roles=frozenset([Role.INITIATOR]))

    assert offered([ClientOnly()], accounts(), options()) == ()
    assert isinstance(choose(["SCRAM-SHA-256"], ALICE, options(), [ClientOnly()]), ClientOnly)


def test_the_names_stand_for_these() -> None:
    assert [type(EVERY[name]) for name in NAMES] == [
        External,
        Gs2Krb5,
        Gssapi,
        GssSpnego,
        ScramSha256,
        Gs2Krb5,
        ScramSha256,
    ]
    assert NONE is options().protection
