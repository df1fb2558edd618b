"""The layout of a backup, what makes it whole, and what makes it valid.

    manifest.json               what belongs to the backup; written last, by a rename
    manifest.previous.json      the same of the backup before it, with all that it names
    catalogue-<time>/           one file of rows per table, and `blobs.sha256`
    blobs/<last two digits>/    the bytes, as in the store
    .mosic-backup               the lock, and the id of the service that the backup belongs to

`blobs.sha256` is a list that `sha256sum --check` reads, with this folder as the current one. Blobs never
change, so that the next backup into the same folder adds only what is new; it has rows of its own beside
those of the last, which stays valid until the new manifest takes the place of the old one, and stays in the
folder until the next but one does.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from mosic import disk
from mosic.archive.files import ArchiveError, IncomingFile, file_size, make_folder, open_file, open_folder
from mosic.archive.manifest import Manifest, SavedFile
from mosic.disk import Keeping

MANIFEST = "manifest.json"
PREVIOUS = "manifest.previous.json"
_LOCK = ".mosic-backup"
_BLOB_LIST = "blobs.sha256"
_LINE = re.compile(rb"([0-9a-f]{64})  blobs/([0-9a-f]{2})/([0-9a-f]{30}\2)\n")
_LINE_SIZE = 64 + len("  blobs/5b/") + 32 + 1
_CATALOGUE = re.compile(r"catalogue-[0-9TZ.]{1,40}")
_BLOB_FOLDER = re.compile(r"[0-9a-f]{2}")
# A manifest names every damaged clip, of which there may be many thousands.
_MANIFEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Before:
    """What a folder has before a backup is made: how many clips, and which blobs."""

    clips: int
    blobs: frozenset[str]


class Archive:
    """A backup in a folder. The methods block, so call them in a thread; they raise `ArchiveError` for what
    the operator has to look at, and `OSError` for what the file system says."""

    def __init__(self, folder: Path, keeping: Keeping | None = None, *, previous: bool = False) -> None:
        """What is written leaves the reserve of `keeping`. `previous`: to read the backup before the last
        one, which the folder still has."""
        self.folder = folder
        self._keeping = keeping
        self._manifest = PREVIOUS if previous else MANIFEST
        self._made: set[Path] = set()
        self._lock = -1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who writes here until the block ends. Makes the folder.

        Refuses a folder with something else in it: what does not belong to a backup is removed at its end.
        """
        disk.make_folder(self.folder)
        path = self.folder / _LOCK
        if not os.path.lexists(path) and any(self.folder.iterdir()):
            raise ArchiveError(f"{self.folder} has something else in it: name an empty folder.")
        try:
            self._lock = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644
            )
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise ArchiveError(f"{path} is not a regular file.") from None
        try:
            if not stat.S_ISREG(os.fstat(self._lock).st_mode):
                raise ArchiveError(f"{path} is not a regular file.")
            try:
                disk.lock(self._lock)
            except BlockingIOError:
                raise ArchiveError(f"Another backup into {self.folder} is under way.") from None
            self._make(self.folder / "blobs")
            disk.check_file_system(self.folder, "the folder of the backup")
            yield
        finally:
            os.close(self._lock)

    def belongs_to(self, service: UUID, *, force: bool = False) -> Before | None:
        """What is there, once it is certain that it is this service's; None in a folder without a backup.

        To be called while `writing`. With `force` a manifest that cannot be read is as none. Raises
        `ArchiveError` when the backup is another service's.
        """
        noted = os.pread(self._lock, 64, 0).decode("ascii", "replace").strip()
        manifest = None
        try:
            manifest = self._read_manifest()
            blobs = frozenset(blob_key for blob_key, _ in self.blobs(manifest))
        except FileNotFoundError:
            blobs = frozenset(self._blobs_there())
        except ArchiveError as error:
            if not force:
                raise ArchiveError(
                    f"{error} Saving over it loses what it has. To do so anyway, use --force."
                ) from None
            blobs = frozenset(self._blobs_there())
        owner = str(manifest.service) if manifest is not None and manifest.service is not None else noted
        if owner and owner != str(service):
            raise ArchiveError(
                f"{self.folder} is the backup of another service: give this one an empty folder. Or is this "
                "the wrong service? MOSIC_DATA_DIR or the database's settings say which it is."
            )
        if manifest is None and not blobs:
            # Also of a backup that is interrupted before it has a manifest it is known whose it is.
            os.pwrite(self._lock, f"{service}\n".encode(), 0)
            disk.fsync(self._lock)
            return None
        return Before(manifest.clips if manifest is not None else 0, blobs)

    def blob_path(self, blob_key: str) -> Path:
        return self.folder / _name_of(blob_key)

    def size(self, blob_key: str) -> int | None:
        """Of a blob that an earlier backup has saved; None when none has."""
        return file_size(self.folder, _name_of(blob_key))

    def open_blob(self, blob_key: str) -> BufferedReader:
        """Its bytes, whatever they are. Raises `ArchiveError` when they are missing."""
        return self._open(_name_of(blob_key))

    def open_rows(self, saved: SavedFile) -> BufferedReader:
        return self._open(saved.name)

    def receive(self, blob_key: str) -> IncomingFile:
        """For the bytes of a blob, which is there when they are kept."""
        path = self.blob_path(blob_key)
        self._make(path.parent)
        return self.new_file(path)

    def new_file(self, path: Path) -> IncomingFile:
        """For rows, and for whatever else may be large."""
        return IncomingFile(path, self._keeping)

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
        file = self.new_file(catalogue / _BLOB_LIST)
        for blob_key, sha256 in sorted(blobs.items()):
            file.write(f"{sha256.hex()}  {_name_of(blob_key)}\n".encode())
        return self.saved(file)

    def finish(self, manifest: Manifest) -> None:
        """From here on the backup is this one; then what belongs neither to it nor to the one before goes."""
        # Also of folders that an earlier attempt has filled: it may have been killed before it came to this.
        for folder, _ in self._blob_folders():
            disk.fsync(folder)
        previous = None
        with suppress(FileNotFoundError, ArchiveError):
            previous = self._read_manifest()
            self._write_manifest(previous, PREVIOUS)
        self._write_manifest(manifest, MANIFEST)
        if previous is not None:
            self._remove_rest(manifest, previous)

    def give_up(self, manifest: Manifest) -> None:
        """The rows that it names will not be needed."""
        shutil.rmtree(self.folder / manifest.catalogue, ignore_errors=True)

    def _write_manifest(self, manifest: Manifest, name: str) -> None:
        file = IncomingFile(self.folder / name)
        file.write(manifest.model_dump_json(indent=2).encode() + b"\n")
        file.keep(replacing=True)

    def _remove_rest(self, *manifests: Manifest) -> None:
        belongs = {blob_key for manifest in manifests for blob_key, _ in self.blobs(manifest)}
        catalogues = {manifest.catalogue for manifest in manifests}
        for path in self.folder.iterdir():
            if _CATALOGUE.fullmatch(path.name) and path.name not in catalogues and not path.is_symlink():
                shutil.rmtree(path)
        for folder, names in self._blob_folders():
            for name in set(names) - belongs:
                with suppress(IsADirectoryError, FileNotFoundError):
                    os.unlink(name, dir_fd=folder)

    def _blob_folders(self) -> Iterator[tuple[int, list[str]]]:
        """A descriptor and the names in it, of each folder of blobs that is one."""
        try:
            top = open_folder(self.folder, ["blobs"])
        except FileNotFoundError:
            return
        try:
            for name in filter(_BLOB_FOLDER.fullmatch, os.listdir(top)):
                with suppress(NotADirectoryError, FileNotFoundError):
                    folder = open_folder(self.folder, ["blobs", name])
                    try:
                        yield folder, os.listdir(folder)
                    finally:
                        os.close(folder)
        finally:
            os.close(top)

    def _blobs_there(self) -> Iterator[str]:
        for _, names in self._blob_folders():
            yield from (name for name in names if not name.startswith("."))

    def read(self) -> Manifest:
        """The manifest, once it is certain that the rows are as they were saved. Blobs are not read."""
        try:
            manifest = self._read_manifest()
        except FileNotFoundError:
            raise ArchiveError(
                f"{self.folder} is not a complete backup: it lacks {self._manifest}, which is written last."
            ) from None
        for saved in (manifest.blob_list, *(table.file for table in manifest.tables)):
            self._verify(saved)
        return manifest

    def _read_manifest(self) -> Manifest:
        path = self.folder / self._manifest
        with open_file(self.folder, self._manifest) as file:
            content = file.read(_MANIFEST_BYTES + 1)
        if len(content) > _MANIFEST_BYTES:
            raise ArchiveError(f"{path} is damaged: it is larger than any manifest.")
        try:
            return Manifest.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part)[:40] for part in first["loc"])
            said = f"{where} {first['msg'][:200]}".strip()
            raise ArchiveError(f"{path} is damaged or of another version: {said!a}") from None

    def blobs(self, manifest: Manifest) -> Iterator[tuple[str, str]]:
        """Key and SHA-256 (in hex) of every blob that belongs to the backup."""
        name = manifest.blob_list.name
        before = b""
        count = 0
        with self._open(name) as file:
            while line := file.readline(_LINE_SIZE + 1):
                found = _LINE.fullmatch(line)
                if found is None:
                    raise ArchiveError(f"The backup is damaged: {name} has the line {line[:120]!r}.")
                # They are in the order of the keys' bytes, so that none comes twice.
                if found[3] <= before:
                    raise ArchiveError(f"The backup is damaged: {name} has a blob twice, or in disorder.")
                before = found[3]
                count += 1
                yield found[3].decode(), found[1].decode()
        if count != manifest.blobs:
            raise ArchiveError(f"The backup is damaged: {name} has {count} blobs, not {manifest.blobs}.")

    def _open(self, name: str) -> BufferedReader:
        try:
            return open_file(self.folder, name)
        except FileNotFoundError:
            raise ArchiveError(f"The backup is damaged: {self.folder / name} is missing.") from None

    def _verify(self, saved: SavedFile) -> None:
        with self._open(saved.name) as file:
            same = os.fstat(file.fileno()).st_size == saved.size
            if not same or hashlib.file_digest(file, "sha256").hexdigest() != saved.sha256:
                raise ArchiveError(
                    f"The backup is damaged: {self.folder / saved.name} has changed since it was written."
                )

    def _make(self, folder: Path) -> None:
        if folder not in self._made:
            make_folder(folder)
            self._made.add(folder)


def _name_of(blob_key: str) -> str:
    return f"blobs/{blob_key[-2:]}/{blob_key}"
