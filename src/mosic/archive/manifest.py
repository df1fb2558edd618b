"""What a manifest may say. No value leads out of the folder, or to a terminal as more than
plain text, and none is larger than what it counts can be."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_File = Annotated[str, StringConstraints(pattern=r"^catalogue-[0-9TZ.]{1,40}/[a-z][a-z0-9_.]{0,80}$")]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_BlobKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_Words = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]{0,500}$")
]
_Count = Annotated[int, Field(ge=0, lt=2**63, strict=True)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SavedFile(_Record):
    """A file of the backup: its name below the folder, its size in bytes, its SHA-256 in hex."""

    name: _File
    size: _Count
    sha256: _Sha256


class SavedTable(_Record):
    """The rows of one table, in PostgreSQL's text form of COPY."""

    table: _Name
    columns: tuple[_Name, ...] = Field(min_length=1, max_length=1000)
    rows: _Count
    file: SavedFile


class Damaged(_Record):
    """A clip whose bytes could not be saved, since the store lacked them or had others."""

    clip_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{32,36}$")]
    blob_key: _BlobKey
    detail: _Words


class Manifest(_Record):
    """What belongs to a backup. Tables come in the order in which they can be filled.

    `service` is whose backup it is; those of versions before 0.2 do not say.
    """

    format: Literal[1] = 1
    made_by: _Words
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")]
    created_at: AwareDatetime
    service: UUID | None = None
    tables: tuple[SavedTable, ...] = Field(max_length=1000)
    blob_list: SavedFile
    blobs: _Count
    bytes: _Count
    damaged: tuple[Damaged, ...] = Field(default=())

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [table.table for table in self.tables]
        if len(set(names)) < len(names) or "clips" not in names:
            raise ValueError("tables: each comes once, and clips is one of them")
        for table in self.tables:
            if len(set(table.columns)) < len(table.columns):
                raise ValueError(f"tables: {table.table} has a column twice")
        files = [self.blob_list.name, *(table.file.name for table in self.tables)]
        if len(set(files)) < len(files) or len({name.partition("/")[0] for name in files}) > 1:
            raise ValueError("files: each comes once, and all are in one folder")
        return self

    @property
    def clips(self) -> int:
        return next(table.rows for table in self.tables if table.table == "clips")

    @property
    def catalogue(self) -> str:
        """The name of the folder with the rows."""
        return self.blob_list.name.partition("/")[0]
