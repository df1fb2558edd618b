"""The folder that a backup is: its layout, what makes it whole, and what makes it valid.

    manifest.json               what belongs to the backup; written last, by a rename
    catalogue-<time>/           one file of rows per table, and `blobs.sha256`
    blobs/<last two digits>/    the bytes, as in the store

`blobs.sha256` is a list that `sha256sum --check` reads, with this folder as the current one. Blobs never
change, so that the next backup into the same folder adds only what is new; it has rows of its own beside
those of the last, which stays valid until the new manifest takes the place of the old one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

_MANIFEST = "manifest.json"
_LOCK = ".mosic-backup"
_BLOB_LIST = "blobs.sha256"
_LINE = re.compile(r"([0-9a-f]{64})  blobs/[0-9a-f]{2}/([0-9a-f]{32})\n")
_CATALOGUE = re.compile(r"catalogue-[0-9TZ.]+")

# No name in a manifest can lead out of the folder, and none needs quoting.
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_File = Annotated[str, StringConstraints(pattern=r"^catalogue-[0-9TZ.]+/[a-z0-9_.]+$")]


class ArchiveError(Exception):
    """The backup cannot be made or used; the message is a sentence for the operator."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SavedFile(_Record):
    """A file of the backup: its name below the folder, its size in bytes, its SHA-256 in hex."""

    name: _File
    size: int
    sha256: str


class SavedTable(_Record):
    """The rows of one table, in PostgreSQL's text form of COPY."""

    table: _Name
    columns: tuple[_Name, ...]
    rows: int
    file: SavedFile


class Damaged(_Record):
    """A clip whose bytes could not be saved, since the store lacked them or had others."""

    clip_id: str
    blob_key: str
    detail: str


class Manifest(_Record):
    """What belongs to a backup. Tables come in the order in which they can be filled."""

    format: Literal[1] = 1
    made_by: str
    revision: str
    created_at: datetime
    tables: tuple[SavedTable, ...]
    blob_list: SavedFile
    blobs: int
    bytes: int
    damaged: tuple[Damaged, ...] = Field(default=())


class Archive:
    """A backup in a folder. The methods block, so call them in a thread; they raise `ArchiveError` for what
    the operator has to look at, and `OSError` for what the file system says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: set[Path] = set()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who writes here until the block ends. Makes the folder.

        Refuses a folder with something else in it: what does not belong to a backup is removed at its end.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / _LOCK
        if not lock.exists() and any(self.folder.iterdir()):
            raise ArchiveError(f"{self.folder} has something else in it: give a backup an empty folder.")
        with lock.open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise ArchiveError(f"Another backup into {self.folder} is under way.") from None
            yield

    def blob_path(self, blob_key: str) -> Path:
        return self.folder / "blobs" / blob_key[-2:] / blob_key

    def has(self, blob_key: str, size: int) -> bool:
        """Whether an earlier backup has saved this blob."""
        try:
            return self.blob_path(blob_key).stat().st_size == size
        except FileNotFoundError:
            return False

    def receive(self, blob_key: str) -> IncomingFile:
        """For the bytes of a blob, which is there when they are kept."""
        path = self.blob_path(blob_key)
        self._make(path.parent)
        return IncomingFile(path)

    def new_catalogue(self) -> Path:
        """A folder for the rows."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        folder = self.folder / f"catalogue-{stamp}"
        self._make(folder)
        return folder

    def saved(self, file: IncomingFile) -> SavedFile:
        """Keep the file and say what it is."""
        file.keep()
        return SavedFile(
            name=file.path.relative_to(self.folder).as_posix(), size=file.size, sha256=file.sha256
        )

    def list_blobs(self, catalogue: Path, blobs: dict[str, bytes]) -> SavedFile:
        """Write down which blobs belong to the backup, by key and SHA-256."""
        file = IncomingFile(catalogue / _BLOB_LIST)
        for blob_key, sha256 in sorted(blobs.items()):
            path = self.blob_path(blob_key).relative_to(self.folder).as_posix()
            file.write(f"{sha256.hex()}  {path}\n".encode())
        return self.saved(file)

    def finish(self, manifest: Manifest) -> None:
        """From here on the backup is this one; then what does not belong to it any more is removed."""
        file = IncomingFile(self.folder / _MANIFEST)
        file.write(manifest.model_dump_json(indent=2).encode() + b"\n")
        file.keep()
        self.remove_rest(manifest)

    def remove_rest(self, manifest: Manifest) -> None:
        belongs = {blob_key for blob_key, _ in self.blobs(manifest)}
        current = Path(manifest.blob_list.name).parts[0]
        for path in self.folder.iterdir():
            if _CATALOGUE.fullmatch(path.name) and path.name != current:
                shutil.rmtree(path)
        for path in self.folder.glob("blobs/??/*"):
            if path.name not in belongs:
                path.unlink()

    def read(self) -> Manifest:
        """The manifest, once it is certain that the rows are as they were saved. Blobs are not read."""
        path = self.folder / _MANIFEST
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ArchiveError(
                f"{self.folder} is no complete backup: it has no {_MANIFEST}, which is written last."
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ArchiveError(f"{path} is damaged or of another version: {where} {first['msg']}") from None
        for saved in (manifest.blob_list, *(table.file for table in manifest.tables)):
            self._verify(saved)
        return manifest

    def blobs(self, manifest: Manifest) -> Iterator[tuple[str, str]]:
        """Key and SHA-256 (in hex) of every blob that belongs to the backup."""
        with (self.folder / manifest.blob_list.name).open() as lines:
            for line in lines:
                found = _LINE.fullmatch(line)
                if found is None:
                    raise ArchiveError(f"{manifest.blob_list.name} is damaged: {line.rstrip()!r}")
                yield found[2], found[1]

    def _verify(self, saved: SavedFile) -> None:
        path = self.folder / saved.name
        try:
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise ArchiveError(f"The backup is damaged: {path} is missing.") from None
        if actual != saved.sha256:
            raise ArchiveError(f"The backup is damaged: {path} has changed since it was written.")

    def _make(self, folder: Path) -> None:
        if folder not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            for parent in (folder.parent, *folder.parent.parents):
                _sync_folder(parent)
                if parent == self.folder:
                    break
            self._made.add(folder)


class IncomingFile:
    """A file that is seen under its name only when it is whole and on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._beside = path.with_name(f".{path.name}.part")
        self._file = self._beside.open("wb")

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, chunk: bytes | bytearray) -> None:
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def keep(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._beside, self.path)
        _sync_folder(self.path.parent)

    def discard(self) -> None:
        self._file.close()
        with suppress(FileNotFoundError):
            self._beside.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
