"""Every setting, read once at the start from the environment (`MOSIC_*`) and a `.env` file.

docs/decisions/0017-where-settings-come-from.md says which files are trusted, and why.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mosic.errors import StartupError
from mosic.settings.database import DatabaseSettings
from mosic.settings.keys import KeySettings
from mosic.settings.limits import LimitSettings, PlaySettings, ProbeSettings, RemoteSettings, WorkSettings
from mosic.settings.names import PREFIX, names_of
from mosic.settings.network import NetworkSettings
from mosic.settings.places import PlaceSettings
from mosic.settings.sources import Found, Value, from_environment, from_file
from mosic.settings.store import MemoryStore
from mosic.settings.timings import Timings
from mosic.settings.upkeep import SweepSettings, WatchSettings


# The fields of the last base come first, in the documents too.
class Settings(
    WatchSettings,
    SweepSettings,
    RemoteSettings,
    PlaySettings,
    WorkSettings,
    ProbeSettings,
    LimitSettings,
    DatabaseSettings,
    PlaceSettings,
    NetworkSettings,
    KeySettings,
):
    """Frozen: the settings of a service never change. The documents show the fields' descriptions."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, validate_default=True)

    _timings: Timings = PrivateAttr()

    def __init__(self, *, timings: Timings | None = None, **values: Any) -> None:
        super().__init__(**values)
        self._timings = timings or Timings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: `read_settings` knows names and files, and makes the notices."""
        return (init_settings,)

    @field_validator("*", mode="after")
    @classmethod
    def _find_path(cls, value: Any) -> Any:
        """Absolute, so that every message is clear; `~` is the home folder."""
        if not isinstance(value, Path):
            return value
        try:
            return value.expanduser().absolute()
        except RuntimeError:
            raise ValueError(f"{value} is below the home folder of an account that has none") from None
        except OSError as error:
            raise ValueError(
                f"the folder in which Mosic was started no longer exists: {error.strerror}"
            ) from None

    @model_validator(mode="after")
    def _check_memory_store(self) -> Self:
        if isinstance(self.store_url, MemoryStore) and self.workers > 1:
            raise ValueError(
                "MOSIC_STORE_URL=memory: cannot be shared by several workers; set MOSIC_WORKERS=1"
            )
        return self

    @property
    def timings(self) -> Timings:
        """No field, so that no variable of the environment sets it."""
        return self._timings

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown, for the redaction of logs."""
        urls = [url for url in (self.external_database, self.direct_database) if url is not None]
        return (
            *(named.api_key for named in self.given_keys),
            self.url_secret.get_secret_value() if self.url_secret else "",
            *(str(url.password) for url in urls if url.password),
            *(str(url.query["sslpassword"]) for url in urls if url.query.get("sslpassword")),
        )

    @classmethod
    def groups(cls) -> dict[str, list[str]]:
        """The names of the fields by topic, in the order of the documents."""
        return {
            (base.__doc__ or "").rstrip("."): list(base.model_fields)
            for base in reversed(cls.__bases__)
            if issubclass(base, BaseSettings)
        }


@dataclass(frozen=True, slots=True)
class Reading:
    """Settings as they were read, and notices for the operator."""

    settings: Settings
    values: Mapping[str, Value]
    """The source of each field that was set."""
    notices: tuple[str, ...]


def read_settings(env_file: Path | None = Path(".env"), **overrides: Any) -> Reading:
    """Read the settings, or raise `StartupError` with one line per wrong variable.

    `overrides` (from command-line flags) win over the environment, which wins over the file. None means «not
    given»; for `env_file`, that no file is read.
    """
    names = names_of(Settings.model_fields)
    environment = from_environment(os.environ, names)
    file = from_file(env_file.absolute(), names) if env_file is not None else Found()
    values = file.values | environment.values
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**({name: value.text for name, value in values.items()} | given))
    except ValidationError as error:
        raise StartupError(_explained(error, {k: v for k, v in values.items() if k not in given})) from None
    return Reading(settings, values, (*environment.notices, *file.notices))


def load_settings(**overrides: Any) -> Settings:
    """The settings of `read_settings`, without its notices."""
    return read_settings(**overrides).settings


def _explained(error: ValidationError, values: Mapping[str, Value]) -> str:
    lines = []
    for problem in error.errors():
        field = "_".join(str(part) for part in problem["loc"][:1])
        message = problem["msg"].removeprefix("Value error, ")
        place = values[field].place if field in values else f"{PREFIX}{field.upper()}"
        lines.append(f"{place}: {message}" if field else message)
    return "The settings are wrong:\n  " + "\n  ".join(lines)
