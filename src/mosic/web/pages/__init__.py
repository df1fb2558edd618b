"""The pages of the service, and everything that they load: docs/decisions/0021-pages.md.

Files of others are in `vendor/`, pinned by `vendor/packages.json` and updated by scripts/vendor.py.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePath

from mosic.errors.explained import explanations

_FOLDER = files(__name__)

SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Scripts come from Mosic's own files only. Both programs write styles into the page."""

STRICT_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""For pages without scripts."""

_TYPES = {".css": "text/css", ".js": "text/javascript"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that a page loads. `compressed` is a gzip stream if the file is stored as one; the entity tag
    is weak, because it is the same for both forms."""

    media_type: str
    etag: str
    compressed: bytes | None
    plain: bytes | None

    def content(self) -> bytes:
        """For clients that do not accept gzip."""
        return self.plain if self.plain is not None else gzip.decompress(self.compressed or b"")


@cache
def read_page(name: str) -> str:
    """The HTML of a page. `{prefix}` in it is the path below which the service is reached; the route
    fills in other names in braces."""
    return _FOLDER.joinpath(f"{name}.html").read_text("utf-8")


@cache
def asset(name: str) -> Asset | None:
    """Read once per process, because there are few; None when there is none with this name."""
    digest = _names().get(name)
    if digest is None:
        return None
    media_type = f"{_TYPES[PurePath(name).suffix]}; charset=utf-8"
    vendored = _FOLDER.joinpath("vendor", f"{name}.gz")
    if vendored.is_file():
        return Asset(media_type, f'W/"{digest}"', vendored.read_bytes(), None)
    return Asset(media_type, f'W/"{digest}"', None, _FOLDER.joinpath(name).read_bytes())


@cache
def icon() -> Asset:
    """The file `/favicon.ico`, which browsers request."""
    content = _FOLDER.joinpath("favicon.ico").read_bytes()
    return Asset("image/x-icon", f'"{hashlib.sha256(content).hexdigest()}"', None, content)


@cache
def errors_as_html() -> str:
    """For each error a heading with the code as its id, the meaning, and the remedy."""
    return "\n".join(
        f'<h2 id="{one.code}"><a href="#{one.code}">{one.status} <code>{one.code}</code></a></h2>\n'
        f"<p>{_html_of(one.meaning)}</p>\n<p>{_html_of(one.remedy)}</p>"
        for one in explanations()
    )


def _html_of(text: str) -> str:
    """Turns back quotes into code, and links to documents, which the service does not have, into their
    names."""
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"\[([^\]]+)\]\(([\w/.-]+)[^)]*\)", r"\1 (<code>docs/\2</code>)", found)


@cache
def _names() -> dict[str, str]:
    """Every asset and the SHA-256 of its content."""
    pinned = json.loads(_FOLDER.joinpath("vendor", "packages.json").read_text("utf-8"))
    found = {
        PurePath(path).name: entry
        for package in pinned.values()
        for path, entry in package["files"].items()
        if PurePath(path).suffix in _TYPES
    }
    for file in _FOLDER.iterdir():
        if PurePath(file.name).suffix in _TYPES:
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found
