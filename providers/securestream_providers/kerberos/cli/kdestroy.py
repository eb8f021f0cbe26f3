"""``securestream kdestroy``: overwrite and remove a credential cache."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from securestream.cli.report import Report
from securestream.credentials import CredentialCache
from securestream.errors import UsageError
from securestream_providers.kerberos.storage.caches import caches_of, destroy_cache
from securestream_providers.kerberos.storage.configuration import load_configuration
from securestream_providers.kerberos.storage.names import cache_name


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-c", "--cache", metavar="NAME", help="the cache; by default the user's")
    parser.add_argument("-A", "--all", action="store_true", help="all caches of a folder")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not complain if there is none")


def run(asked: Namespace, report: Report) -> int:
    """Remove what was asked for; 1 where there was none."""
    name = cache_name(CredentialCache(asked.cache), load_configuration())
    if name.startswith("MEMORY:"):
        raise UsageError("a cache in memory ends with its own process; name a file or a folder")
    names = caches_of(name) if asked.all else (name,)
    destroyed = [one for one in names if destroy_cache(one)]
    if not destroyed:
        if not asked.quiet:
            report.say("none", f"no credential cache is at {name}", cache=name)
        return 1
    return 0
