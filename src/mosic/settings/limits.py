"""The settings about what is taken, at most, and how long things may take."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

MEBIBYTE = 1024 * 1024


class LimitSettings(BaseSettings):
    """Limits."""

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
    unfinished_uploads_max: int = Field(
        1000, ge=1, description="Resumable uploads that may be unfinished at a time; then 429."
    )
    unfinished_uploads_per_key: int = Field(
        500, ge=1, description="How many of them may be of one key; then 429."
    )
    unfinished_mb_max: int | None = Field(
        None,
        ge=1,
        description="MiB that unfinished resumable uploads may have declared, or brought without a length, "
        "in all; then 507. In any case they may declare no more than there is room for.",
    )
    unfinished_mb_per_key: int | None = Field(
        None, ge=1, description="MiB that those of one key may have declared; then 507."
    )

    @property
    def max_upload_bytes(self) -> int:
        return self.max_upload_mb * MEBIBYTE


class ProbeSettings(BaseSettings):
    """Understanding audio."""

    probe_workers: int = Field(2, ge=1, le=64, description="Processes per worker that read tags.")
    probe_timeout_seconds: float = Field(
        15, gt=0, le=600, description="A file whose tags take longer to read is refused with 422."
    )
    probe_memory_mb: int = Field(
        512, ge=128, le=65536, description="Memory, in MiB, that reading the tags of one file may take."
    )


class PlaySettings(BaseSettings):
    """Plays."""

    play_wait_seconds: float = Field(
        2, gt=0, le=60, description="How long a stream waits for its play to be written, at most."
    )
    plays_waiting_max: int = Field(
        100_000, ge=1, description="Plays kept in memory while the database is away; then 503."
    )


class RemoteSettings(BaseSettings):
    """External clips."""

    remote_stream: Literal["proxy", "redirect", "off"] = Field(
        "proxy", description="External clips: pass the audio through, redirect to it, or refuse."
    )
    remote_timeout_seconds: float = Field(
        15, gt=0, le=600, description="How long an external source may take to connect, answer or go on."
    )
    remote_allow_private: bool = Field(
        False, description="Allow external clips on private and loopback addresses. Dangerous; for tests."
    )
