"""The folder that a backup is, read as if a stranger had made what is there.

`folder` is its layout, `manifest` what belongs to it, `files` how its files are read and written.
"""

from mosic.archive.files import ArchiveError, IncomingFile
from mosic.archive.folder import Archive, Before
from mosic.archive.manifest import Damaged, Manifest, SavedFile, SavedTable

__all__ = [
    "Archive",
    "ArchiveError",
    "Before",
    "Damaged",
    "IncomingFile",
    "Manifest",
    "SavedFile",
    "SavedTable",
]
