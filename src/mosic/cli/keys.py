"""`mosic key`: the keys of the service that the settings describe, by their names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import typer

from mosic.cli.calling import DONE, SOME_FAILED, say
from mosic.cli.table import as_json
from mosic.errors import StartupError
from mosic.keys.file import add_line, revoke
from mosic.keys.made import new_key
from mosic.keys.open import load_keys
from mosic.settings import Settings, load_settings
from mosic.settings.keys import DEFAULT_NAME
from mosic.wire.apikeys import is_key_name, parse_key_list

_SOON = "a running service reads the file again within seconds"


def new(name: str, *, add: bool) -> int:
    """The line goes to standard output, for a file; where it belongs goes to standard error.

    Raises `typer.BadParameter` and `StartupError`.
    """
    if not is_key_name(name):
        raise typer.BadParameter("A name has up to 64 letters, digits, '.', '_' and '-', such as phone-2026.")
    line = f"{name}:{new_key()}"
    if add:
        file = load_settings().api_keys_file
        if file is None:
            raise StartupError(
                "The key cannot be added: MOSIC_API_KEYS_FILE, which names the file, is not set."
            )
        add_line(file, line)
        typer.echo(line)
        say(f"added to {file}; {_SOON}")
        return DONE
    typer.echo(line)
    try:
        say(_belongs(load_settings()))
    except StartupError as error:
        say(f"append this line to the file that MOSIC_API_KEYS_FILE names. {error}")
    return DONE


def _belongs(settings: Settings) -> str:
    if settings.api_keys_file is not None:
        return f"append this line to {settings.api_keys_file} (or call with --add); {_SOON}"
    replaced = (
        f"; the key in {settings.made_key_file} is then no longer valid"
        if settings.makes_key and settings.made_key_file.exists()
        else ""
    )
    return (
        "append this line to a file, name the file in MOSIC_API_KEYS_FILE, and restart the service once"
        f"{replaced}"
    )


def show(*, json: bool) -> int:
    """Names and where they are set, never keys. Raises `StartupError`."""
    found = _names(load_settings())
    if json:
        for (name, source), count in found.items():
            typer.echo(as_json({"name": name, "source": source, "keys": count}))
        return DONE
    width = max((len(name) for name, _ in found), default=0)
    for (name, source), count in found.items():
        typer.echo(f"{name:<{width}}  {source}{f'  ({count} keys)' if count > 1 else ''}")
    if not found:
        say("there is no key yet; the first start of the service makes one")
    return DONE


def _names(settings: Settings) -> Counter[tuple[str, str]]:
    """How many keys each name has, and where they are set, in order of precedence."""
    if settings.makes_key:
        file = settings.made_key_file
        return Counter({(DEFAULT_NAME, str(file)): 1} if file.exists() else {})
    listed = parse_key_list(settings.api_keys.get_secret_value()) if settings.api_keys else ()
    unnamed = len(settings.given_keys) - len(listed)
    in_file = load_keys(settings)[len(settings.given_keys) :]
    return Counter(
        [
            *[(DEFAULT_NAME, "MOSIC_API_KEY")] * unnamed,
            *((key.name, "MOSIC_API_KEYS") for key in listed),
            *((key.name, str(settings.api_keys_file)) for key in in_file),
        ]
    )


def take_away(name: str) -> int:
    """Remove them from the key file, and name the settings that have others. Raises `StartupError`."""
    settings = load_settings()
    file: Path | None = settings.api_keys_file
    count = 0 if file is None else revoke(file, name)
    if count:
        typer.echo(f"{name} is revoked: {_lines(count)} removed from {file}; {_SOON}.")
    elsewhere = [source for one, source in _names(settings) if one == name and source != str(file)]
    for source in elsewhere:
        how = "remove that file" if settings.makes_key else f"remove it from {source}"
        say(f"{name} is set in {source}: {how}, and restart the service")
    if not count and not elsewhere:
        say(f"there is no key named {name}; `mosic key list` shows all names")
    return DONE if count and not elsewhere else SOME_FAILED


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"
