"""Why a clip cannot be given."""

from __future__ import annotations

from mosic.errors.base import MosicError


class ClipNotFound(MosicError):
    code, status, title = "clip-not-found", 404, "There is no such clip"


class BytesTaken(MosicError):
    """`clip_id` names the clip that has them: the same bytes are never stored twice."""

    code, status, title = "bytes-taken", 409, "Another clip has these bytes"


class RangeNotSatisfiable(MosicError):
    """`size` is that of the whole representation: RFC 9110 §15.5.17 asks for it in Content-Range. Only an
    external source may not have told it."""

    code, status, title = "range-not-satisfiable", 416, "No part of the range lies within the file"

    def __init__(self, size: int | None) -> None:
        told = {} if size is None else {"Content-Range": f"bytes */{size}"}
        super().__init__(
            None if size is None else f"The file has {size} bytes.",
            headers=told | {"Accept-Ranges": "bytes"},
        )


class BlobMissing(MosicError):
    """The catalogue has the clip but the store lacks its bytes: the operator's trouble, not the client's."""

    code, status, title = "blob-missing", 500, "The bytes of this clip are missing from the store"


class BlobDamaged(MosicError):
    """The store has other bytes than it was given. Sending the right ones does not replace them: whoever runs
    the service has to see why first."""

    code, status, title = "blob-damaged", 500, "The bytes of this clip in the store are not what they were"


class RemoteRefused(MosicError):
    """The address of an external clip is one that this service must not fetch from."""

    code, status, title = "remote-refused", 422, "This external address is not allowed"


class RemoteFailed(MosicError):
    code, status, title = "remote-failed", 502, "The external source did not give the audio"


class RemoteTimeout(MosicError):
    code, status, title = "remote-timeout", 504, "The external source did not answer in time"


class RemoteDisabled(MosicError):
    """`MOSIC_REMOTE_STREAM=off`."""

    code, status, title = "remote-disabled", 403, "This service does not stream external clips"
