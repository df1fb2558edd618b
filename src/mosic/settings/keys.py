"""The settings about who may write and read."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from mosic.wire.apikeys import NamedKey, is_key, parse_key_list

DEFAULT_NAME = "default"


class KeySettings(BaseSettings):
    """Who may write and read."""

    api_key: SecretStr | None = Field(
        None,
        description="Key that writes need; made at the first start when no key is set. "
        "Comma-separated: several.",
    )
    api_keys: SecretStr | None = Field(
        None,
        description="Comma-separated further keys with names (`phone:key,radio:key`), which the log and the "
        "metrics then show.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File with a `name:key` on each line, made by `mosic key new`; read again when it "
        "changes, and at SIGHUP.",
    )
    require_key_for_reads: bool = Field(
        False,
        description="Reads need a key as well; players get signed URLs that are valid for a limited time.",
    )
    url_ttl_seconds: int = Field(
        6 * 3600, ge=1, le=30 * 86400, description="How long a signed URL is valid, at least."
    )
    url_secret: SecretStr | None = Field(
        None,
        description="Secret that signs these URLs; made at the first start when unset. "
        "Several machines need the same one.",
    )

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all(
            is_key(part.strip()) for part in value.get_secret_value().split(",")
        ):
            raise ValueError("a key is made of visible ASCII characters, without spaces or commas")
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_named_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_key_list(value.get_secret_value())
        return value

    @field_validator("url_secret")
    @classmethod
    def _check_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters; `openssl rand -hex 32` makes a good one")
        return value

    @property
    def given_keys(self) -> tuple[NamedKey, ...]:
        """The keys of the environment; those of `MOSIC_API_KEY` are all named «default»."""
        unnamed = self.api_key.get_secret_value().split(",") if self.api_key else ()
        named = parse_key_list(self.api_keys.get_secret_value()) if self.api_keys else ()
        return (*(NamedKey(DEFAULT_NAME, part.strip()) for part in unnamed), *named)

    @property
    def makes_key(self) -> bool:
        """Whether Mosic makes a key of its own, as no other is named."""
        return self.api_key is None and self.api_keys is None and self.api_keys_file is None
