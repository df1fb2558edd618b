"""From `MOSIC_STORE_URL` to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from mosic.blobs.base import BlobStore
from mosic.blobs.local import LocalBlobs
from mosic.blobs.memory import MemoryBlobs
from mosic.errors import StartupError


def open_blobs(store_url: str | None, media_root: Path) -> BlobStore:
    """The store that the URL names (the media root when there is none), not yet started.

    Raises `StartupError` for a URL that names no known store.
    """
    if store_url is None:
        return LocalBlobs(media_root)
    parts = urlsplit(store_url)
    if parts.scheme == "memory" and not parts.netloc and parts.path in ("", "/"):
        return MemoryBlobs()
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return LocalBlobs(Path(unquote(parts.path)))
    raise StartupError(
        f"MOSIC_STORE_URL: {store_url!r} names no known store; use 'file:///folder' or 'memory:'"
    )
