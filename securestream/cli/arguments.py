"""The arguments of each command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn, TypeVar

from securestream.cli.addresses import Address
from securestream.cli.provided import Commands, help_of
from securestream.errors import UsageError
from securestream.registry import DEFAULT_PACKAGE

T = TypeVar("T")

LEVELS = ("none", "sign", "encrypt")
FRAMINGS = ("nns", "raw")
NTLM_USES = ("never", "no-kdc", "always")
PASSWORDS = (
    "Passwords come from --password-file FILE (its first line; the file must be its owner's alone), from the variable "
    "SECURESTREAM_PASSWORD, or from a prompt; never from an argument, which every user of the machine can read."
)


def _typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse`, with its `UsageError` told as argparse tells errors."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise UsageError(f"{text!r} is no positive whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86400:
        raise UsageError(f"{text!r} is no number of seconds up to a day")
    return value


def _kdc(text: str) -> str:
    """``HOST``, ``HOST:PORT``, either behind ``tcp/`` or ``udp/``, or ``https://HOST/PATH``; as it was written."""
    address = text.removeprefix("tcp/").removeprefix("udp/").removeprefix("https://").partition("/")[0]
    if not address.strip("[]"):
        raise UsageError(f"{text!r} is no address of a KDC: write HOST:PORT")
    if ":" in address and not (address.startswith("[") and address.endswith("]")):
        Address.parse(address)
    return text


_address = _typed(Address.parse)


class _Parser(argparse.ArgumentParser):
    """Complains in one sentence, as every other error here does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser(word: str | None = None, provided: Commands | None = None) -> argparse.ArgumentParser:
    """The parser of all commands.

    Args:
        word: the command that will be asked for, so that no other one of a provider is loaded; `None` for any.
        provided: the commands of providers; `None` for those that are installed. The own commands have precedence.

    Raises:
        UsageError: `word` is a provider's command that cannot be loaded.
    """
    top = _Parser(
        prog="securestream",
        description="Authenticated, sealed TCP streams with the security packages of Windows.",
        epilog=PASSWORDS,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _packages(commands.add_parser("packages", help="list the security packages that are installed", allow_abbrev=False))
    _serve(commands.add_parser("serve", help="accept secure connections", epilog=PASSWORDS, allow_abbrev=False))
    _connect(commands.add_parser("connect", help="open a secure connection", epilog=PASSWORDS, allow_abbrev=False))
    _accounts(commands.add_parser("accounts", help="keep a store of accounts", epilog=PASSWORDS, allow_abbrev=False))
    _inspect(commands.add_parser("inspect", help="show what handshake tokens say", allow_abbrev=False))
    if word not in commands.choices:
        _provided(commands, Commands.installed() if provided is None else provided, word)
    return top


def _provided(
    commands: argparse._SubParsersAction[_Parser],  # pyright: ignore[reportPrivateUsage]  # argparse has no public name
    provided: Commands,
    word: str | None,
) -> None:
    """Add the commands of providers, of which only `word` is loaded if it is one of them."""
    for name in provided:
        if name in commands.choices:
            continue
        if word in provided and name != word:
            commands.add_parser(name, add_help=False)
            continue
        try:
            command = provided.load(name)
            own = commands.add_parser(
                name, help=help_of(command), description=help_of(command), epilog=PASSWORDS, allow_abbrev=False
            )
            command.add_arguments(own)
            own.set_defaults(provided=command)
        except UsageError as error:
            if name == word:
                raise
            commands.add_parser(name, help=str(error).replace("%", "%%"), add_help=False).set_defaults(provided=None)


def reporting(command: argparse.ArgumentParser) -> None:
    """What every command that runs handshakes takes: how it tells of them."""
    group = command.add_argument_group("reporting")
    group.add_argument("--verbose", action="store_true", help="show each handshake step on standard error")
    group.add_argument("--log-json", action="store_true", help="print each event as one JSON object")


def _channel(command: argparse.ArgumentParser) -> None:
    """What both ends of a connection take."""
    command.add_argument(
        "--package",
        default=DEFAULT_PACKAGE,
        metavar="NAME",
        help="the security package, as `packages` lists it (default %(default)s: Kerberos, or NTLM by policy)",
    )
    command.add_argument(
        "--sasl",
        metavar="MECHANISM",
        help="the SASL mechanism that the package carries (digest: digest-md5, which is weak and historic)",
    )
    command.add_argument(
        "--level",
        choices=LEVELS,
        default="encrypt",
        help="the least protection: none (authentication alone), sign, or encrypt, which also signs (default)",
    )
    command.add_argument(
        "--framing",
        choices=FRAMINGS,
        help="how tokens and data stand on the wire: nns, that of .NET's NegotiateStream (default), or raw (TLS)",
    )
    command.add_argument("--handshake-timeout", type=_typed(_seconds), default=30.0, metavar="SECONDS")
    command.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop")
    command.add_argument(
        "--certificate", metavar="FILE", help="own certificate with its chain, PEM (schannel, credssp)"
    )
    command.add_argument("--key", metavar="FILE", help="its private key, PEM (if not in the same file)")
    command.add_argument("--password-file", metavar="FILE", help="holds the password, or that of an encrypted --key")
    command.add_argument(
        "--ntlm",
        choices=NTLM_USES,
        help="whether NTLM may be negotiated (negotiate, credssp): never; no-kdc, where Kerberos has no KDC to ask; "
        "always, whenever Kerberos fails; by default no-kdc for a user without a realm, else never; servers heed "
        "never alone",
    )
    group = command.add_argument_group("tickets (kerberos, negotiate, credssp)")
    group.add_argument("--keytab", metavar="FILE", help="the keys of a service, or of --user, in MIT's format")
    group.add_argument("--ccache", metavar="NAME", help="tickets: FILE:, DIR: or the path of a file")
    group.add_argument(
        "--realm",
        metavar="REALM",
        help="of names without one, instead of krb5.conf's default_realm; with --sasl at a server the realm of its "
        "accounts, which must be given, at a client the one to take of those offered (default: that of the user's "
        "domain, else the only one, else the one called as the host)",
    )
    group.add_argument(
        "--kdc",
        action="append",
        type=_typed(_kdc),
        metavar="HOST[:PORT]",
        help="of --realm, instead of krb5.conf's; may be repeated; tcp/HOST and https://HOST/PATH say how to ask",
    )
    reporting(command)


def _packages(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print a JSON array")


def _serve(command: argparse.ArgumentParser) -> None:
    command.add_argument("address", type=_address, metavar="HOST:PORT", help="port 0 picks one; IPv6 in brackets")
    _channel(command)
    command.add_argument(
        "--accounts",
        metavar="FILE",
        help="the account store for NTLM and Digest, see `accounts`; smbpasswd:FILE reads a Samba file (NTLM); "
        "negotiate and credssp take it beside --keytab",
    )
    command.add_argument(
        "--ca", metavar="FILE", help="demand client certificates of these authorities, PEM (schannel, credssp)"
    )
    action = command.add_mutually_exclusive_group(required=True)
    action.add_argument("--echo", action="store_true", help="send back what comes")
    action.add_argument(
        "--exec", metavar="CMD", dest="execute", help="run a program, without a shell; SECURESTREAM_PEER says who"
    )
    action.add_argument("--forward", type=_address, metavar="HOST:PORT", help="be the server end of a tunnel")
    command.add_argument(
        "--ntlm-mic",
        choices=("required", "optional"),
        default="required",
        help="optional accepts NTLM clients that prove neither their flags nor their bindings",
    )
    command.add_argument(
        "--allow",
        action="append",
        metavar="PRINCIPAL",
        help=r"admit only this peer, as it is printed (alice, CORP\alice); may be repeated",
    )
    command.add_argument(
        "--replay-cache",
        metavar="FILE",
        help="remember in this SQLite file what must be used once, for several servers of one keytab (kerberos)",
    )
    command.add_argument(
        "--service",
        action="append",
        metavar="NAME",
        help="serve this name alone, CLASS or CLASS/HOST, instead of all in --keytab and any that NTLM clients mean; "
        "may be repeated; with --sasl it must be given",
    )
    command.add_argument(
        "--max-connections", type=_typed(_count), default=1024, metavar="N", help="at once (default %(default)s)"
    )


def _connect(command: argparse.ArgumentParser) -> None:
    command.add_argument("address", type=_address, metavar="HOST:PORT", help="the server; IPv6 in brackets")
    _channel(command)
    command.add_argument("--target", metavar="SPN", help="the service to reach (default host/HOST), or its TLS name")
    command.add_argument(
        "--user-to-user",
        action="store_true",
        help="--target is a user, who serves with tickets instead of a keytab: serve --ccache (kerberos)",
    )
    command.add_argument("--user", metavar=r"DOM\name", help="as whom")
    command.add_argument(
        "--delegate",
        action="append",
        metavar="PATTERN",
        help="hand the password of --user to servers of that name, HOST or CLASS/HOST with * for any part; may be "
        "repeated (credssp)",
    )
    command.add_argument(
        "--ca", metavar="FILE", help="trust these authorities instead of the system's, PEM (schannel, credssp)"
    )
    command.add_argument(
        "--listen", type=_address, metavar="HOST:PORT", help="be the client end of a tunnel: one connection for each"
    )
    command.add_argument(
        "--share-identity",
        action="store_true",
        help="--listen beyond this machine: whoever can reach the port acts as --user, unauthenticated and in clear",
    )


def _accounts(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, help_text in (
        ("add", "add an account, or give one a new password"),
        ("list", "list the accounts; no secret is shown"),
        ("remove", "remove an account"),
    ):
        action = actions.add_parser(name, help=help_text, epilog=PASSWORDS, allow_abbrev=False)
        if name != "list":
            action.add_argument("name", metavar="NAME", help="the account")
        action.add_argument("--store", required=True, metavar="FILE", help="the account store (SQLite)")
        if name == "add":
            action.add_argument("--password-file", metavar="FILE")
            action.add_argument("--replace", action="store_true", help="give an account that exists a new password")
            action.add_argument(
                "--realm",
                action="append",
                default=[],
                metavar="R",
                help="keep what Digest needs for this realm; several times for several",
            )
        if name == "list":
            action.add_argument("--json", action="store_true", help="print a JSON array")


def _inspect(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Show tokens as a tree: NTLM, SPNEGO, NEGOEX, Kerberos, CredSSP, Digest, SCRAM, in NegotiateStream frames, in "
        "HTTP's authentication fields or without, TLS records, and any ASN.1. Several tokens of one conversation, in "
        "their order and with an empty line between them, are read together: what one tells opens the next. The octets "
        "come from --file or standard input, where hexadecimal digits and base64 are known by themselves."
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument(
        "--hex", nargs="?", const="", metavar="TEXT", help="hexadecimal digits; every user of the machine can read TEXT"
    )
    form.add_argument(
        "--base64", nargs="?", const="", metavar="TEXT", help="base64, alone or behind 'Negotiate' as in an HTTP header"
    )
    command.add_argument("--file", metavar="FILE", help="where the token is, instead of standard input")
    command.add_argument("--keytab", metavar="FILE", help="keys that open tickets, in MIT's format (kerberos)")
    command.add_argument(
        "--key-file",
        metavar="FILE",
        help="keys, one a line: nt HEX (an NT hash), session HEX, 18 HEX (by encryption type); its owner's file alone",
    )
    command.add_argument("--show-secrets", action="store_true", help="show the keys and data that were decrypted, too")
    command.add_argument("--whole", action="store_true", help="show long octets to their end")
    command.add_argument("--json", action="store_true", help="print a JSON array of trees")
