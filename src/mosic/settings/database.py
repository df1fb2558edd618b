"""The settings about the database."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings
from sqlalchemy.engine import URL

from mosic.settings.database_url import parse_database_url


class DatabaseSettings(BaseSettings):
    """Database."""

    database_url_override: SecretStr | None = Field(
        None, description="URL of an external PostgreSQL (≥ 14); wins over the `MOSIC_DB_*` settings."
    )
    database_direct_url: SecretStr | None = Field(
        None,
        description="URL of the same database that bypasses a pooler which shares sessions (PgBouncer with "
        "`pool_mode=transaction`): for LISTEN, locks, migrations and backups.",
    )
    db_host: str | None = Field(
        None, description="Host of an external PostgreSQL; unset: Mosic runs its own."
    )
    db_port: int = Field(5432, ge=1, le=65535, description="Port of the external PostgreSQL.")
    db_name: str = Field("mosic", min_length=1, description="Database name in the external PostgreSQL.")
    db_user: str = Field("mosic", min_length=1, description="User of the external PostgreSQL.")
    db_password: SecretStr | None = Field(None, description="Password of that user.")
    db_pool_size: int = Field(10, ge=1, le=200, description="Most database connections per worker.")
    db_statement_seconds: float = Field(
        10,
        ge=0.1,
        le=3600,
        description="How long a statement for a request may take; after that the response is 503.",
    )
    postgres_bin: Path | None = Field(
        None,
        description="Folder of the PostgreSQL programs that Mosic starts; default: the packaged programs.",
    )
    echo_sql: bool = Field(False, description="Log every SQL statement.")

    @field_validator("database_url_override", "database_direct_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_database_url(value.get_secret_value())
        return value

    @field_validator("db_host", "db_name", "db_user", "db_password", mode="before")
    @classmethod
    def _without_newline(cls, value: object) -> object:
        """A value from a file, such as a secret, mostly ends in a newline."""
        return value.rstrip("\r\n") if isinstance(value, str) else value

    @property
    def external_database(self) -> URL | None:
        """SQLAlchemy URL of the external server, with libpq's parameters in its query, or None to start the
        embedded one."""
        if self.database_url_override is not None:
            return parse_database_url(self.database_url_override.get_secret_value())
        if self.db_host is None:
            return None
        password = self.db_password.get_secret_value() if self.db_password else None
        host, query = (None, {"host": self.db_host}) if self.db_host.startswith("/") else (self.db_host, {})
        return URL.create(
            "postgresql+asyncpg", self.db_user, password, host, self.db_port, self.db_name, query
        )

    @property
    def direct_database(self) -> URL | None:
        """URL of the external server that bypasses a pooler, if there is one."""
        if self.database_direct_url is None or self.external_database is None:
            return None
        return parse_database_url(self.database_direct_url.get_secret_value())
