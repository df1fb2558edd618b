"""The settings about where things are kept."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from mosic.settings.store import FolderStore, MemoryStore, StoreUrl


class PlaceSettings(BaseSettings):
    """Where things are kept."""

    media_root: Path = Field(Path("media"), description="Folder of the audio files.")
    data_dir: Path = Field(
        Path(".mosic"), description="Folder of the embedded database, the made key and the made secret."
    )
    store_url: StoreUrl | None = Field(
        None, description="Where blobs are kept: `file:///srv/media` or `memory:`; default: the media root."
    )
    media_file_mode: str = Field(
        "0640",
        description="Mode of media files, as for `chmod`; those who may read the files may also enter their "
        "folders. `0644` where a web server of another group reads them (docs/nginx.md).",
    )
    disk_reserve_mb: int | None = Field(
        None,
        ge=0,
        description="Disk space in MiB that uploads, and backups on the same disk, leave free; default: 256, "
        "on a small disk a tenth of it, but at least 64 beside the embedded database.",
    )

    @field_validator("media_file_mode")
    @classmethod
    def _check_mode(cls, value: str) -> str:
        if not re.fullmatch(r"(0o?)?[67][04][04]", value):
            raise ValueError(f"{value!r} is not the mode of a file such as 0640 or 0644")
        return value

    @property
    def store(self) -> MemoryStore | FolderStore:
        """Where blobs are kept."""
        return self.store_url or FolderStore(self.media_root)

    @property
    def file_mode(self) -> int:
        """`media_file_mode` as a number."""
        return int(self.media_file_mode.removeprefix("0o"), 8)

    @property
    def made_key_file(self) -> Path:
        """The file with the key that Mosic made."""
        return self.data_dir / "api_key"

    @property
    def made_secret_file(self) -> Path:
        """The file with the secret for signed URLs that Mosic made."""
        return self.data_dir / "url_secret"
