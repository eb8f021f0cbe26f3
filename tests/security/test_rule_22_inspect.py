"""Rule 22: `inspect` takes no key in an argument, and shows what it decrypted only to who asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from securestream.cli.inspect import as_json, lines
from securestream.credentials import Accounts, Credentials
from securestream.inspection import InspectionKey
from securestream.provider import SecurityContext
from securestream.redaction import Secret
from securestream.services.nt_hash import nt_hash
from securestream_providers.krb5.messages import EncryptedData, Ticket
from securestream_providers.krb5.numbers import KeyUsage
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.cli.looking import asked, look, problems, run
from tests.providers.kerberos.ends import Realm, new_services
from tests.providers.kerberos.ends import package as kerberos
from tests.providers.krb5.pacs import BUFFERS
from tests.providers.negotiate.ends import meet, options
from tests.providers.ntlm.ends import ALICE, PASSWORD, store

MESSAGE = b"attack at dawn"


@pytest.fixture(params=["Kerberos", "NTLM"])
def conversation(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str | Path], list[bytes]]:
    """Arguments that show a conversation with all keys, and the secrets in it."""
    realm = Realm()
    assert realm.session is not None
    end = Negotiate(kerberos() if request.param == "Kerberos" else Ntlm(), ntlm="always")
    met = meet(
        end,
        end,
        initiating=Credentials(realm.tickets(realm.with_pac(BUFFERS)), ALICE),
        accepting=Credentials(realm.keytab, Accounts(store())),
        mine=options(1),
        theirs=options(2),
        services=new_services(),
    )
    one, _ = met.contexts
    assert isinstance(one, SecurityContext)
    secrets = [one.session_key, nt_hash(PASSWORD), realm.key.contents.reveal(), MESSAGE]
    if request.param == "Kerberos":
        secrets.append(realm.session.contents.reveal())
    tokens = tmp_path / "tokens"
    tokens.write_text("\n\n".join(token.hex() for token in [*met.tokens, one.wrap(MESSAGE)]))
    keys = tmp_path / "keys"
    keys.touch(0o600)
    keys.write_text(f"nt {nt_hash(PASSWORD).hex()}\n18 {realm.key.contents.reveal().hex()}\n")
    return ["--file", tokens, "--key-file", keys], secrets


@pytest.mark.parametrize("form", [(), ("--json",), ("--whole",)])
def test_what_was_decrypted_is_hidden(
    conversation: tuple[list[str | Path], list[bytes]], form: tuple[str, ...]
) -> None:
    arguments, secrets = conversation
    status, shown = run(*arguments, *form)
    assert status == 0
    assert "--show-secrets" in shown or '"secret": true' in shown
    for secret in secrets:
        assert secret.hex() not in shown
        assert repr(secret) not in shown


def test_what_was_decrypted_and_is_malformed_is_hidden_too() -> None:
    """Read as any ASN.1, it would show the key that stands in it."""
    realm = Realm()
    part = realm.part().encode()
    assert realm.session is not None
    session_key = realm.session.contents.reveal()
    assert session_key in part
    sealed = realm.key.encrypt(KeyUsage.TICKET, b"\x64" + part[1:], bytes)
    ticket = Ticket(5, "CORP.EXAMPLE", realm.service.principal_name, EncryptedData(18, 1, sealed)).encode()
    (node,) = look(ticket, keys=[InspectionKey("18", realm.key.contents)])
    assert node.find("EncTicketPart") is not None
    assert problems(node)
    assert session_key.hex() not in "\n".join(lines(node, whole=True)) + json.dumps(as_json(node))


def test_who_asks_for_it_is_shown_it_but_never_the_keys_that_were_given(
    conversation: tuple[list[str | Path], list[bytes]],
) -> None:
    arguments, (session_key, *given) = conversation
    assert given[2] == MESSAGE
    shown = run(*arguments, "--show-secrets", "--whole")[1]
    assert session_key.hex() in shown
    assert MESSAGE.hex() in shown
    assert given[0].hex() not in shown
    assert given[1].hex() not in shown


@pytest.mark.parametrize("option", ["--key", "--nt-hash", "--session-key", "--password"])
def test_no_option_takes_a_key(option: str) -> None:
    with pytest.raises(SystemExit):
        asked(option, "00" * 16)


def test_keys_show_nothing_of_themselves() -> None:
    held = InspectionKey("nt", Secret(b"hunter2hunter2hu"))
    assert "hunter2" not in repr(held) + str(held)
