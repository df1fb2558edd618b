"""The settings about sweeping, logs and metrics."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings


class SweepSettings(BaseSettings):
    """Sweeping."""

    sweep_seconds: float = Field(
        3600,
        ge=0,
        le=30 * 86400,
        description="Seconds between two sweeps of what crashes and abandoned uploads left; 0: never.",
    )
    trash_days: float = Field(
        7,
        ge=0,
        le=3650,
        description="How many days a deleted clip stays in the trash, from where it can be restored; `0`: it "
        "is removed at once.",
    )
    sweep_grace_seconds: float = Field(
        3600, ge=60, le=30 * 86400, description="How long a leftover must be left alone before it is swept."
    )


class WatchSettings(BaseSettings):
    """Watching it."""

    metrics_cache_seconds: float = Field(
        1,
        ge=0,
        le=60,
        description="How old an answer of /metrics may be that is sent again; no more than the "
        "time between two scrapes. 0: none is.",
    )
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

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value
