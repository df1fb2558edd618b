"""What `mosic serve` prints when it is ready: its URL, its folders, how to upload."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import structlog

from mosic import __version__
from mosic.db.connecting import shown
from mosic.keys.open import load_keys
from mosic.logs import logs_are_json, without_home
from mosic.postgres.account import settle
from mosic.settings import Settings

_log = structlog.get_logger("mosic")


def greet(settings: Settings, port: int) -> None:
    """One message: a log line where these are JSON, else lines for a person, some of them to paste.

    Called once the service answers, so that a line that can be pasted is also one that works.
    """
    url = service_url(settings, port)
    key, origin = _key(settings)
    with_key = f'-H "X-API-Key: {key}" '
    first = f"Mosic listens on {url} ({origin})."
    media, database = str(settings.store.url or settings.media_root), _database(settings)
    upload = f"curl {with_key}-F file=@song.mp3 {url}/play/upload"
    if logs_are_json():
        _log.info(first, version=__version__, url=url, media=media, database=database, upload=upload)
        return
    lines = (
        first,
        f"Media:    {media}",
        f"Database: {database}",
        f"Upload:   {upload}",
        f"List:     curl {with_key if settings.require_key_for_reads else ''}{url}/play",
    )
    # In one write: a program that waits for the first line then has the others too.
    print("\n".join(map(without_home, lines)), file=sys.stderr, flush=True)  # noqa: T201


def service_url(settings: Settings, port: int) -> str:
    """The URL for a browser on this machine."""
    return settings.public_url or f"http://{_reachable(settings.host)}:{port}"


def _reachable(host: str) -> str:
    if host in ("127.0.0.1", "0.0.0.0", "::", "::1"):  # noqa: S104
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _key(settings: Settings) -> tuple[str, str]:
    """The key as a shell reads it, and where it comes from."""
    if settings.makes_key:
        origin = f"the API key is in {settings.made_key_file}"
        # Output that is not read on a terminal may be stored, and read by others.
        if logs_are_json() or not sys.stderr.isatty():
            return f"$(cat {_in_shell(settings.made_key_file)})", origin
        return load_keys(settings)[0].api_key, origin
    if settings.api_key is not None:
        return "$MOSIC_API_KEY", "the API key is the one that was set"
    named = filter(None, (settings.api_keys and "MOSIC_API_KEYS", settings.api_keys_file))
    return "$KEY", f"the API keys are those of {' and '.join(map(str, named))}"


def _database(settings: Settings) -> str:
    if (url := settings.external_database) is None:
        home, _ = settle(settings.data_dir)
        return f"embedded PostgreSQL in {home}"
    return shown(url)


def _in_shell(path: Path) -> str:
    """The path as a shell reads it in any folder, without the name of the home folder."""
    text = without_home(str(path))
    # A tilde within quotes is a tilde.
    return f"~/{shlex.quote(text[2:])}" if text.startswith("~/") else shlex.quote(text)
