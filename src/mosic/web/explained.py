"""Texts of the OpenAPI document: of operations, of what they answer, and of names that many places share.

What a route or a field says of itself wins. A rule of the tests requires a text and an example everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosic.wire import tus
from mosic.wire.trash import RESTORABLE_UNTIL

_CLIP = "/play/{clip_id}"
_UPLOAD = "/play/uploads/{upload_id}"
_TAKEN = (
    "The audio is recognised by its bytes; names and types that the client sends are hints. Fields that are "
    "not given are read from the tags of the file. The same bytes are stored once."
)
_MADE = "The clip, which can be played from now on."
OPERATIONS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("get", "/play"): (
        "One page, with a Link to the next one. Pages stay right while clips come and go.",
        "The clips of this page.",
    ),
    ("post", "/play"): (f"A file as form or raw body, or JSON with an audio_url. {_TAKEN}", _MADE),
    ("post", "/play/upload"): (_TAKEN, _MADE),
    ("put", "/play/upload"): (_TAKEN, _MADE),
    ("put", f"{_CLIP}/audio"): (
        "Who is listening keeps the old bytes until the end.",
        "The clip with its new bytes.",
    ),
    ("get", _CLIP): ("Everything that is known of it. Its ETag is for If-Match.", "The clip."),
    ("patch", _CLIP): (
        "Members that are absent stay, null clears one (RFC 7396). If-Match protects the changes of others.",
        "The edited clip.",
    ),
    ("delete", _CLIP): (
        "A clip in the trash is neither listed nor played; it can be restored until its time is over.",
        "The clip is removed.",
    ),
    ("post", f"{_CLIP}/restore"): ("With its id, plays and fields.", "The restored clip."),
    ("get", "/play/top"): (
        "Clips in the trash are not among them.",
        "The clips that were played most, and how often.",
    ),
    ("get", f"{_CLIP}/stats"): (
        "A play is counted once for each listener who begins to listen, whatever ranges follow.",
        "The numbers.",
    ),
    ("get", f"{_CLIP}/chapters"): (
        "In order, at most 1,000, none of them beyond the end of the clip.",
        "The chapters.",
    ),
    ("get", f"{_CLIP}/lyrics"): (
        "Of several lyrics in a file those that have times, else the first.",
        "The lyrics, in the form that was asked for.",
    ),
    ("get", f"{_CLIP}/works"): (
        "A clip plays before any of this is done.",
        "One entry for each kind of work.",
    ),
    ("post", "/play/uploads"): (
        "By tus 1.0.0 with the extensions that OPTIONS lists. PATCH the Location that is returned.",
        "The upload is created.",
    ),
    ("options", "/play/uploads"): (
        "For clients that look before they begin.",
        "What is supported, in the header fields.",
    ),
    ("patch", _UPLOAD): (
        "From the current offset. An interrupted request keeps the bytes that arrived.",
        "The bytes are stored. With the last ones, Content-Location names the clip.",
    ),
    ("head", _UPLOAD): ("Where to go on after an interruption.", "The offset, in the header fields."),
    ("get", _UPLOAD): (
        "As HEAD, for people and for clients that prefer JSON.",
        "How much of the upload has arrived.",
    ),
    ("delete", _UPLOAD): ("The bytes received so far are removed.", "The upload is ended."),
    ("get", "/health"): ("Asks nothing of the database or of disks.", "The process is alive."),
    ("get", "/ready"): ("For load balancers: a service that answers 503 gets no requests.", "It can work."),
    ("get", "/metrics"): (
        "The format is chosen by Accept. docs/monitoring.md explains each series.",
        "The metrics.",
    ),
}
"""What an operation does beyond its summary, and what its success means."""

_UUID = "5b4f1c1e-7f0b-4a55-9d7e-2f3a6a1f0c11"
SHARED_NAMES: Mapping[str, tuple[str, Any]] = {
    "album": ("The album it is from.", "Kind of Blue"),
    "album_artist": ("Whose album it is.", "Miles Davis"),
    "artist": ("Who plays, sings or speaks.", "Miles Davis"),
    "attempts": ("How often it was tried.", 1),
    "audio_url": (
        "URL of the audio.",
        "https://example.org/play/5b4f1c1e-7f0b-4a55-9d7e-2f3a6a1f0c11/stream",
    ),
    "bitrate": ("Bits per second.", 245_000),
    "bytes_streamed": ("Bytes of audio that were sent to listeners.", 14_336_000),
    "channels": ("1 is mono, 2 stereo.", 2),
    "clip": ("The clip.", None),
    "clip_id": ("The clip's UUID.", _UUID),
    "code": ("Stable, for programs.", "clip-not-found"),
    "codec": ("How the audio is coded.", "mp3"),
    "complete": ("Whether nothing is shortened.", True),
    "created_at": ("When it was added.", "2026-03-01T09:30:00Z"),
    "cursor": (
        "Opaque; from the Link of the previous page.",
        "WyItY3JlYXRlZF9hdCIsbnVsbCwiMjAyNi0wMy0wMVQwOTozMDowMFoiXQ",
    ),
    "date": ("When it was published: a year, or more of a date.", "1959-08-17"),
    "description": ("Text of several lines.", "Recorded at Columbia 30th Street Studio."),
    "detail": ("What is wrong with this request, for people.", "There is no such clip"),
    "disc_number": ("Which disc of the album.", 1),
    "duration": ("Seconds.", 562.4),
    "errors": (
        "Every wrong value: where it is, and what is wrong.",
        [{"loc": ["query", "limit"], "msg": "Input should be greater than or equal to 1"}],
    ),
    "expires_at": ("When it is removed.", "2026-03-02T09:30:00Z"),
    "external_id": ("An app's own key; no two clips have the same.", "track-4711"),
    "file": ("The audio.", "the bytes of so-what.mp3"),
    "filename": ("The name of the file, for the title of a clip without one.", "so-what.mp3"),
    "genre": ("Style of the music, or kind of talk.", "Jazz"),
    "has_chapters": ("Whether its file carries chapters.", True),
    "has_lyrics": ("Whether its file carries lyrics.", False),
    "id": ("UUID.", _UUID),
    "chapters": ("The chapters, in order.", None),
    "format": ("The form of the answer.", "json"),
    "language": ("As the file says it.", "eng"),
    "lines": ("The lines, in order.", None),
    "kind": ("What is learnt.", "waveform"),
    "last_played_at": ("When the clip was last played; null before the first.", "2026-03-05T18:00:00Z"),
    "leading": ("Before the first sound.", 0.31),
    "length": ("Bytes of the whole file.", 14_336_000),
    "limit": ("Most entries on one page.", 50),
    "media_type": ("Type of the audio, found in its bytes.", "audio/mpeg"),
    "metadata": ("An app's own data: a JSON object.", '{"mood": "calm"}'),
    "offset": ("Bytes received.", 65_536),
    "plays": ("How often it was played in these days.", 3),
    "play_count": ("How often it was played.", 17),
    "sample_rate": ("Hertz.", 44_100),
    "sha256": (
        "SHA-256 of the bytes, in hex.",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ),
    "size": ("Bytes.", 14_336_000),
    "song_id": ("Same as id.", _UUID),
    "state": ("How far it is.", "done"),
    "status": ("The HTTP status, or `ok`.", "ok"),
    "stream_url": ("URL of the audio, always at this service.", f"https://example.org/play/{_UUID}/stream"),
    "tags": ("Text tags of the file.", {"composer": ["Miles Davis"]}),
    "title": ("What people call it.", "So What"),
    "track_number": ("Its place on the disc.", 1),
    "trailing": ("After the last sound.", 1.2),
    "trash": ("The trash instead of the catalogue.", False),
    "type": ("A page about this kind of error.", "/docs/errors#clip-not-found"),
    "updated_at": ("When it changed last.", "2026-03-01T09:30:00Z"),
    "upload_id": ("The upload's UUID, from its Location.", _UUID),
}
"""Of parameters and of members of bodies: what it is, and one value."""

_DATE = "Sun, 01 Mar 2026 09:30:00 GMT"
_ETAG = '"9f86d081884c7d65"'
_DIGEST = "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"
FIELDS: Mapping[str, Any] = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-cache",
    "Content-Digest": _DIGEST,
    "Content-Disposition": 'inline; filename="so-what.mp3"',
    "Content-Location": f"/play/{_UUID}",
    "Content-Range": "bytes 0-65535/14336000",
    "ETag": _ETAG,
    "If-Match": _ETAG,
    "If-Modified-Since": _DATE,
    "If-None-Match": _ETAG,
    "If-Range": _ETAG,
    "If-Unmodified-Since": _DATE,
    "Last-Modified": _DATE,
    "Location": f"/play/{_UUID}",
    RESTORABLE_UNTIL: _DATE,
    "Range": "bytes=0-65535",
    "Repr-Digest": _DIGEST,
    "Retry-After": 2,
    "Tus-Checksum-Algorithm": ",".join(tus.CHECKSUM_ALGORITHMS),
    "Tus-Extension": tus.EXTENSIONS,
    "Tus-Max-Size": 2_147_483_648,
    "Tus-Resumable": tus.VERSION,
    "Tus-Version": tus.VERSION,
    "Upload-Checksum": "sha1 qUqP5cyxm6YcTAhz05Hph5gvu9M=",
    "Upload-Defer-Length": "1",
    "Upload-Expires": _DATE,
    "Upload-Length": 14_336_000,
    "Upload-Metadata": "filename c28td2hhdC5tcDM=",
    "Upload-Offset": 65_536,
    "Vary": "Accept",
    "WWW-Authenticate": "ApiKey",
    "X-Content-Type-Options": "nosniff",
    "X-Request-ID": "4f1c1e7f0b4a559d",
    "Link": '<https://example.org/play?limit=50&cursor=WyItY3JlYXRlZF9hdCJd>; rel="next"',
    "X-Total-Count": 1729,
    "Mosic-Ignored-Fields": "title, artist",
}
"""Of header fields: one value."""
