"""`MOSIC_STORE_URL` as a value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, InstanceOf


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """Blobs in the memory of the process."""

    url: str = "memory:"


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Blobs as files below a folder. `url` is what was given, if anything."""

    folder: Path
    url: str | None = None


def parse_store_url(url: Any) -> Any:
    """Raises `ValueError` for a URL that names no known store. What is no text is left as it is."""
    if not isinstance(url, str):
        return url
    parts = urlsplit(url)
    if parts.scheme == "memory" and not parts.netloc and parts.path in ("", "/"):
        return MemoryStore()
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return FolderStore(Path(unquote(parts.path)), url)
    raise ValueError(f"{url!r} is not a known kind of store; use 'file:///folder' or 'memory:'")


StoreUrl = Annotated[InstanceOf[MemoryStore] | InstanceOf[FolderStore], BeforeValidator(parse_store_url, str)]
