"""Every setting, read once at start from the environment (`MOSIC_*`) and a `.env` file."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from mosic.errors import StartupError
from mosic.key_settings import KeySettings

MEBIBYTE = 1024 * 1024


class Settings(KeySettings):
    """Frozen: a running service never changes its mind. Descriptions appear in README and `.env.example`."""

    model_config = SettingsConfigDict(
        env_prefix="MOSIC_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # Where it listens
    host: str = Field("127.0.0.1", description="Address to listen on.")
    app_port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=64, description="Worker processes.")
    public_url: str | None = Field(
        None,
        description="Address that clients reach the service at (`https://music.example`); "
        "default: what the request says.",
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="Comma-separated proxies (addresses, networks or `*`) whose `X-Forwarded-*` and "
        "`Forwarded` headers are believed.",
    )
    alias_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        ("/clips", "/api/v1/clips"),
        description="Comma-separated further prefixes under which `/play` answers.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated origins (`https://app.example`) whose web pages may use the service "
        "from a browser; `*`: every one.",
    )
    accel_redirect: str | None = Field(
        None,
        description="Let nginx send the files of the media root: the location where it has them "
        "(`/_media/`, see docs/nginx.md). Only when every request comes through nginx.",
    )
    shutdown_seconds: float = Field(
        10, gt=0, le=3600, description="How long open requests may go on after the first Ctrl-C or SIGTERM."
    )
    shutdown_delay_seconds: float = Field(
        0,
        ge=0,
        le=600,
        description="How long to take new requests still after SIGTERM, with `/ready` at 503, so that load "
        "balancers turn away first.",
    )

    # Where things are kept
    media_root: Path = Field(Path("media"), description="Folder of the audio files.")
    data_dir: Path = Field(
        Path(".mosic"), description="Folder of the embedded database, the made key and the made secret."
    )
    store_url: str | None = Field(
        None, description="Where blobs are kept: `file:///srv/media` or `memory:`; default: the media root."
    )

    # Database
    database_url_override: SecretStr | None = Field(
        None, description="URL of an external PostgreSQL (≥ 14); wins over the `MOSIC_DB_*` settings."
    )
    db_host: str | None = Field(
        None, description="Host of an external PostgreSQL; unset: Mosic runs its own."
    )
    db_port: int = Field(5432, ge=1, le=65535, description="Port of the external PostgreSQL.")
    db_name: str = Field("mosic", min_length=1, description="Database name in the external PostgreSQL.")
    db_user: str = Field("mosic", min_length=1, description="User of the external PostgreSQL.")
    db_password: SecretStr | None = Field(None, description="Password of that user.")
    db_pool_size: int = Field(10, ge=1, le=200, description="Database connections per worker, at most.")
    postgres_bin: Path | None = Field(
        None, description="Folder of the PostgreSQL programs that Mosic starts; default: the packaged ones."
    )
    echo_sql: bool = Field(False, description="Log every SQL statement.")

    # Limits
    max_upload_mb: int = Field(2048, ge=1, le=1024 * 1024, description="Largest upload, in MiB (2^20 bytes).")
    upload_idle_seconds: float = Field(
        30, gt=0, le=3600, description="How long a sender may keep an upload waiting; then 408."
    )
    upload_min_rate: int = Field(
        1024, ge=0, description="Bytes a second that a sender must bring on average over that time."
    )
    answer_idle_seconds: float = Field(
        300, gt=0, le=86400, description="A client that takes nothing of an answer for so long is cut off."
    )
    upload_expiry_seconds: float = Field(
        24 * 3600,
        gt=0,
        le=365 * 86400,
        description="A resumable upload that nothing was added to for this long is removed.",
    )

    # Understanding audio
    probe_workers: int = Field(2, ge=1, le=64, description="Processes per worker that read tags.")
    probe_timeout_seconds: float = Field(
        15, gt=0, le=600, description="A file whose tags take longer to read is refused with 422."
    )
    probe_memory_mb: int = Field(
        512, ge=128, le=65536, description="Memory, in MiB, that reading the tags of one file may take."
    )

    # Plays
    play_wait_seconds: float = Field(
        2, gt=0, le=60, description="How long a stream waits for its play to be written, at most."
    )
    plays_waiting_max: int = Field(
        100_000, ge=1, description="Plays kept in memory while the database is away; then 503."
    )

    # External clips
    remote_stream: Literal["proxy", "redirect", "off"] = Field(
        "proxy", description="External clips: pass the audio through, redirect to it, or refuse."
    )
    remote_timeout_seconds: float = Field(
        15, gt=0, le=600, description="How long an external source may take to connect, answer or go on."
    )
    remote_allow_private: bool = Field(
        False, description="Allow external clips on private and loopback addresses. Dangerous; for tests."
    )

    # Sweeping
    sweep_seconds: float = Field(
        3600,
        ge=0,
        le=30 * 86400,
        description="Seconds between two sweeps of what crashes and abandoned uploads left; 0: never.",
    )
    sweep_grace_seconds: float = Field(
        3600, ge=60, le=30 * 86400, description="How long a leftover must be left alone before it is swept."
    )

    # Watching it
    metrics_refresh_seconds: float = Field(
        30,
        ge=0.1,
        le=86400,
        description="Seconds between two looks at the catalogue for the metrics about it (clips, top clips).",
    )
    disk_floor_mb: int = Field(
        100, ge=0, description="`/ready` says 503 while a disk of Mosic's has less room than so many MiB."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Form of the log lines; `auto`: readable on a terminal, JSON elsewhere."
    )

    @field_validator("alias_prefixes", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("alias_prefixes")
    @classmethod
    def _check_prefixes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        value = tuple(prefix.rstrip("/") for prefix in value)
        for prefix in value:
            if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", prefix):
                raise ValueError(f"{prefix!r} is not a path such as '/clips'")
            if prefix == "/play" or prefix.startswith("/play/"):
                raise ValueError("'/play' is the router itself and cannot be an alias")
        return value

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        for part in filter(None, map(str.strip, value.split(","))):
            try:
                ip_network("0.0.0.0/0" if part == "*" else part, strict=False)
            except ValueError:
                raise ValueError(f"{part!r} is neither an address nor a network such as 10.0.0.0/8") from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s@]+", origin):
                raise ValueError(f"{origin!r} is not an origin such as 'https://app.example' (no path)")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", value):
            raise ValueError(
                "must be an http:// or https:// address without query, such as 'https://music.example'"
            )
        return value.rstrip("/")

    @field_validator("accel_redirect")
    @classmethod
    def _check_accel_redirect(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?", value):
            raise ValueError(f"{value!r} is not a location such as '/_media/'")
        return value and value.rstrip("/") + "/"

    @field_validator("database_url_override")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                url = make_url(value.get_secret_value())
            except ArgumentError:
                raise ValueError(
                    "is not a database URL such as 'postgresql://user:password@host/name'"
                ) from None
            if url.get_backend_name() not in ("postgresql", "postgres"):
                raise ValueError(f"only PostgreSQL is supported, not {url.get_backend_name()!r}")
        return value

    @model_validator(mode="after")
    def _check_memory_store(self) -> Self:
        if self.store_url == "memory:" and self.workers > 1:
            raise ValueError(
                "MOSIC_STORE_URL=memory: lives in one process; it cannot be shared by several workers"
            )
        return self

    @property
    def max_upload_bytes(self) -> int:
        return self.max_upload_mb * MEBIBYTE

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown to anybody: for those who write logs."""
        url = self.external_database
        return (
            *(named.api_key for named in self.given_keys),
            self.url_secret.get_secret_value() if self.url_secret else "",
            str(url.password) if url is not None and url.password else "",
        )

    @property
    def made_key_file(self) -> Path:
        """Where a key that Mosic made is kept."""
        return self.data_dir / "api_key"

    @property
    def made_secret_file(self) -> Path:
        """Where a secret for signed addresses that Mosic made is kept."""
        return self.data_dir / "url_secret"

    @property
    def external_database(self) -> URL | None:
        """SQLAlchemy URL of the external server, or None when the embedded one is to be started."""
        if self.database_url_override is not None:
            url = make_url(self.database_url_override.get_secret_value())
            return url.set(drivername="postgresql+asyncpg")
        if self.db_host is None:
            return None
        password = self.db_password.get_secret_value() if self.db_password else None
        return URL.create(
            "postgresql+asyncpg", self.db_user, password, self.db_host, self.db_port, self.db_name
        )


def load_settings(**overrides: Any) -> Settings:
    """Read the settings, or raise `StartupError` with one line per wrong variable.

    `overrides` (from command-line flags) win over the environment; None means «not given».
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"][:1])
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"MOSIC_{name.upper()}: {message}" if name else message)
        raise StartupError("The settings are wrong:\n  " + "\n  ".join(lines)) from None
