"""Why an upload is refused or ends."""

from __future__ import annotations

from mosic.errors.base import MosicError


class MissingFile(MosicError):
    code, status, title = "missing-file", 422, "The form has no part named 'file'"


class PartialUpload(MosicError):
    """The request has a `Content-Range`, so its body is not the whole file (RFC 9110 §14.5)."""

    code, status, title = "partial-upload", 400, "This URL does not accept a part of a file"


class UnsupportedMedia(MosicError):
    code, status, title = "unsupported-media", 415, "This is not audio of a known format"


class UnreadableMedia(MosicError):
    code, status, title = "unreadable-media", 422, "This audio could not be read"


class TooLarge(MosicError):
    code, status, title = "too-large", 413, "The upload is larger than allowed"


class UploadStalled(MosicError):
    code, status, title = "upload-stalled", 408, "The upload was too slow for too long"


class DigestMismatch(MosicError):
    code, status, title = "digest-mismatch", 400, "The bytes received do not match the declared digest"


class InsufficientStorage(MosicError):
    code, status, title = "insufficient-storage", 507, "There is not enough disk space for this upload"


class TooManyUploads(MosicError):
    """This key, or the whole service, has as many unfinished resumable uploads as are allowed."""

    code, status, title = "too-many-uploads", 429, "Too many uploads are unfinished"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "60"})


class TooMuchPromised(MosicError):
    """The unfinished resumable uploads of this key, or of the whole service, have declared as many bytes as
    are allowed, or as the disk has space for."""

    code, status, title = "too-much-promised", 507, "Unfinished uploads have reserved all space"


class UnsupportedTusVersion(MosicError):
    code, status, title = "unsupported-tus-version", 412, "Unsupported tus version"


class UploadNotFound(MosicError):
    code, status, title = "upload-not-found", 404, "There is no such upload"


class UploadGone(MosicError):
    code, status, title = "upload-gone", 410, "This upload has expired or was ended"


class OffsetMismatch(MosicError):
    code, status, title = "offset-mismatch", 409, "The upload is not at this offset"


class UploadLocked(MosicError):
    code, status, title = "upload-locked", 423, "Another request is writing to this upload"


class UploadInterrupted(MosicError):
    """A resumable upload was too slow for too long. The bytes received are kept.

    Not 408: tus clients retry after a 5xx, a 409 or a 423, and give up after any other 4xx.
    """

    code, status, title = "upload-interrupted", 503, "The upload was interrupted and can be resumed"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class ChecksumMismatch(MosicError):
    """460 is a status of the tus checksum extension."""

    code, status, title = "checksum-mismatch", 460, "The bytes received do not match the declared checksum"
