"""Why a clip cannot be delivered."""

from __future__ import annotations

from mosic.errors.base import MosicError


class ClipNotFound(MosicError):
    code, status, title = "clip-not-found", 404, "There is no such clip"


class BytesTaken(MosicError):
    """`clip_id` names that clip. The same bytes are never stored twice."""

    code, status, title = "bytes-taken", 409, "Another clip has these bytes"


class ExternalIdTaken(MosicError):
    """`clip_id` and `clip_url` name the clip that has it, also one in the trash."""

    code, status, title = "external-id-taken", 409, "Another clip has this external_id"


class RangeNotSatisfiable(MosicError):
    """`Content-Range` names the size of the whole file (RFC 9110 §15.5.17), unless an external source did not
    send it."""

    code, status, title = "range-not-satisfiable", 416, "No part of the requested range lies within the file"

    def __init__(self, size: int | None) -> None:
        known = {} if size is None else {"Content-Range": f"bytes */{size}"}
        super().__init__(
            None if size is None else f"The file has {size} bytes.",
            headers=known | {"Accept-Ranges": "bytes"},
        )


class BlobMissing(MosicError):
    """The catalogue has the clip, but the store does not have its file. The request is not the cause."""

    code, status, title = "blob-missing", 500, "The stored file of this clip is missing"


class BlobDamaged(MosicError):
    """The stored file is not what was uploaded. Uploading the right bytes again does not replace it: the
    operator has to find the cause first."""

    code, status, title = "blob-damaged", 500, "The stored file of this clip is damaged"


class NoChapters(MosicError):
    """Its file carries none, or its audio is stored elsewhere."""

    code, status, title = "no-chapters", 404, "This clip has no chapters"


class NoLyrics(MosicError):
    """Its file carries none, or its audio is stored elsewhere."""

    code, status, title = "no-lyrics", 404, "This clip has no lyrics"


class NoWaveform(MosicError):
    """The audio is stored elsewhere, or cannot be decoded: the detail says which."""

    code, status, title = "no-waveform", 422, "This clip has no waveform"


class SoundNotInstalled(MosicError):
    """The extra `sound` is missing: `pip install 'mosic[sound]'`."""

    code, status, title = "sound-not-installed", 501, "This service cannot decode audio"


class RemoteRefused(MosicError):
    """The service must not fetch the URL of this external clip."""

    code, status, title = "remote-refused", 422, "This external URL is not allowed"


class RemoteFailed(MosicError):
    code, status, title = "remote-failed", 502, "The external source did not send the audio"


class RemoteTimeout(MosicError):
    code, status, title = "remote-timeout", 504, "The external source did not respond in time"


class RemoteDisabled(MosicError):
    """`MOSIC_REMOTE_STREAM=off`."""

    code, status, title = "remote-disabled", 403, "This service does not stream external clips"
