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
        description="Seconds between two sweeps, which remove leftovers of crashes and of uploads; 0: never.",
    )
    trash_days: float = Field(
        7,
        ge=0,
        le=3650,
        description="How many days a deleted clip stays in the trash and can be restored; `0`: it is removed "
        "at once.",
    )
    sweep_grace_seconds: float = Field(
        3600, ge=60, le=30 * 86400, description="How old a leftover must be before the sweep removes it."
    )


class WatchSettings(BaseSettings):
    """Watching it."""

    metrics_cache_seconds: float = Field(
        1,
        ge=0,
        le=60,
        description="How long a response of /metrics is cached; use no more than the time between two "
        "scrapes. 0: not at all.",
    )
    metrics_refresh_seconds: float = Field(
        30,
        ge=0.1,
        le=86400,
        description="Seconds between two queries of the catalogue for its metrics (clips, top clips).",
    )
    disk_floor_mb: int = Field(
        100,
        ge=0,
        description="`/ready` responds 503 while a disk of Mosic has less free space than this, in MiB.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Format of the log lines; `auto`: readable on a terminal, JSON elsewhere."
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value
