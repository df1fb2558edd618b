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
        30, gt=0, le=3600, description="How long an upload may wait for data; after that the response is 408."
    )
    upload_min_rate: int = Field(
        1024, ge=0, description="Bytes per second that a client must send on average over that time."
    )
    answer_idle_seconds: float = Field(
        300,
        gt=0,
        le=86400,
        description="The connection of a client that reads nothing of a response for this long is closed.",
    )
    upload_expiry_seconds: float = Field(
        24 * 3600,
        gt=0,
        le=365 * 86400,
        description="A resumable upload that receives no data for this long is removed.",
    )
    unfinished_uploads_max: int = Field(
        1000, ge=1, description="Most unfinished resumable uploads at a time; further ones get 429."
    )
    unfinished_uploads_per_key: int = Field(
        500, ge=1, description="Most unfinished resumable uploads of one key; further ones get 429."
    )
    unfinished_mb_max: int | None = Field(
        None,
        ge=1,
        description="Most MiB that all unfinished resumable uploads may have declared, or sent without a "
        "length; further ones get 507. They can never declare more than there is disk space for.",
    )
    unfinished_mb_per_key: int | None = Field(
        None, ge=1, description="Most MiB that those of one key may have declared; further ones get 507."
    )

    @property
    def max_upload_bytes(self) -> int:
        return self.max_upload_mb * MEBIBYTE


class ProbeSettings(BaseSettings):
    """Understanding audio."""

    probe_workers: int = Field(
        2,
        ge=1,
        le=64,
        description="Processes per worker that probe files: they read duration, format and tags.",
    )
    probe_timeout_seconds: float = Field(
        15, gt=0, le=600, description="A file that takes longer to probe is refused with 422."
    )
    probe_memory_mb: int = Field(
        512, ge=128, le=65536, description="Most memory in MiB for probing one file."
    )
    sound_memory_mb: int = Field(
        512,
        ge=320,
        le=65536,
        description="Most memory in MiB for decoding one file, for its waveform and its loudness.",
    )
    sound_seconds_max: float = Field(
        1800,
        gt=0,
        le=86400,
        description="Most processor time for decoding one file. A file of an hour may take seven minutes; it "
        "takes ten seconds.",
    )


class WorkSettings(BaseSettings):
    """Works."""

    works_at_once: int = Field(
        1,
        ge=0,
        le=16,
        description="How many works (what is learnt of clips after their upload) each worker does at a time; "
        "`0`: none, other processes on the same database do them.",
    )


class PlaySettings(BaseSettings):
    """Plays."""

    play_wait_seconds: float = Field(
        2,
        gt=0,
        le=60,
        description="How long a stream waits, at most, until its play is written to the database.",
    )
    plays_waiting_max: int = Field(
        100_000,
        ge=1,
        description="Most plays kept in memory while the database is unreachable; further streams get 503.",
    )
    daily_plays_days: int = Field(
        400,
        ge=0,
        le=36_500,
        description="How many days the plays of each day are kept, today included; `0`: for ever.",
    )


class RemoteSettings(BaseSettings):
    """External clips."""

    remote_stream: Literal["proxy", "redirect", "off"] = Field(
        "proxy", description="External clips: pass the audio through, redirect to it, or refuse to stream it."
    )
    remote_timeout_seconds: float = Field(
        15,
        gt=0,
        le=600,
        description="How long an external source may take to connect, to respond, and to send more data.",
    )
    remote_allow_private: bool = Field(
        False, description="Allow external clips on private and loopback IP addresses. Dangerous; for tests."
    )
