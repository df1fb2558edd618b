"""Which service a client command talks to, and with which key.

Neither ever comes from a file of settings in the folder that the command is called in: it may be a downloaded
one, and would have the key sent to somebody else (CWE-426).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from mosic.cli.health import hosts_to_ask
from mosic.client.service import is_local
from mosic.keys.open import load_keys
from mosic.settings import Settings, read_settings
from mosic.settings.names import PREFIX
from mosic.settings.sources import Value

_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_WANTED = "an API key is needed: give --api-key or set MOSIC_API_KEY"


class WrongCommand(Exception):
    """The command line is wrong; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service: its base URL, the key, and notices for the user."""

    base: URL
    api_key: str | None = field(repr=False)
    notices: tuple[str, ...] = ()


def find_target(url: str | None, api_key: str | None, *, needs_key: bool = True) -> Target:
    """From the options, else from the environment. On this machine, with neither, the key is the one that the
    service of this folder made for itself; a notice names its file. What reads can do without a key that is
    nowhere, and needs no notice of one.

    Raises `WrongCommand` and `StartupError`.
    """
    reading = read_settings(env_file=None)
    settings, values = reading.settings, reading.values
    base = _base(url, settings)
    notices = [*reading.notices]
    key: str | None
    if api_key is not None:
        key = _given(api_key)
    elif settings.given_keys:
        key = settings.given_keys[0].api_key
    elif not settings.makes_key and _is_own(url, base, settings):
        key = load_keys(settings)[0].api_key
    elif settings.makes_key and (is_local(base) or ("data_dir" in values and _is_own(url, base, settings))):
        try:
            key = _made_key(settings)
        except WrongCommand:
            if needs_key:
                raise
            key = None
        if needs_key:
            notices.append(f"the API key is the one in {settings.made_key_file}")
    elif not needs_key:
        key = None
    else:
        raise WrongCommand("; ".join(filter(None, (_WANTED, _about_env_file()))))
    if not _is_given(url, api_key, values) and (notice := _about_env_file()):
        notices.append(notice)
    return Target(base, key, tuple(notices))


def _about_env_file() -> str | None:
    """For users who expect that `.env` is read, as the service does."""
    file = Path(".env").absolute()
    try:
        has_settings = PREFIX.encode() in file.read_bytes() if file.is_file() else False
    except OSError:
        return None
    return f"{file} is not read by this command, only the environment is" if has_settings else None


def _is_own(url: str | None, base: URL, settings: Settings) -> bool:
    """Whether the URL is that of the service which the environment configures, so that its keys fit."""
    return url is None or is_local(base) or str(base) == settings.public_url


def _is_given(url: str | None, api_key: str | None, values: Mapping[str, Value]) -> bool:
    has_url = url is not None or not values.keys().isdisjoint({"public_url", "app_port"})
    has_key = api_key is not None or not values.keys().isdisjoint({"api_key", "api_keys", "api_keys_file"})
    return has_url and has_key


def _base(given: str | None, settings: Settings) -> URL:
    text = settings.public_url if given is None else given
    if text is None:
        if settings.app_port == 0:
            raise WrongCommand("MOSIC_APP_PORT=0 does not say where the service listens: give --url")
        host = hosts_to_ask(settings.host)[-1]
        text = f"http://[{host}]:{settings.app_port}" if ":" in host else f"http://{host}:{settings.app_port}"
    try:
        if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", text):
            raise ValueError
        return URL(text.rstrip("/"))
    except ValueError:
        # Not shown: it may contain a password.
        raise WrongCommand(
            "--url must be an http:// or https:// URL without a query, such as https://music.example"
        ) from None


def _given(api_key: str) -> str:
    first = api_key.partition(",")[0].strip()
    if not _KEY.fullmatch(first):
        raise WrongCommand("--api-key must be visible ASCII characters, without spaces")
    return first


def _made_key(settings: Settings) -> str:
    file = settings.made_key_file
    try:
        api_key = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a key"
        raise WrongCommand(f"{_WANTED} ({file}: {why})") from None
    if not _KEY.fullmatch(api_key):
        raise WrongCommand(f"{file} contains no key; give --api-key or set MOSIC_API_KEY")
    return api_key
