"""From `MOSIC_STORE_URL` to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mosic.blobs.base import BlobStore
from mosic.blobs.local import LocalBlobs
from mosic.blobs.memory import MemoryBlobs
from mosic.disk import Keeping
from mosic.errors import StartupError


def open_blobs(store_url: str | None, media_root: Path, keeping: Keeping | None = None) -> BlobStore:
    """The store that the URL names (the media root when there is none), not yet started. Where it is a
    folder, its files are kept as `keeping` says.

    Raises `StartupError` for a URL that names no known store.
    """
    if store_url is None:
        return LocalBlobs(media_root, keeping)
    parts = urlsplit(store_url)
    if parts.scheme == "memory" and not parts.netloc and parts.path in ("", "/"):
        return MemoryBlobs()
    if (folder := folder_of(store_url)) is not None:
        return LocalBlobs(folder, keeping)
    raise StartupError(
        f"MOSIC_STORE_URL: {store_url!r} is not a known kind of store; use 'file:///folder' or 'memory:'"
    )


def folder_of(store_url: str | None) -> Path | None:
    """The folder that a URL of files names; None of any other."""
    parts = urlsplit(store_url or "")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return Path(unquote(parts.path))
    return None
