"""Requests and answers of tus 1.0.0. The numbers of sections are those of the specification's headings."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.errors import (
    ChecksumMismatch,
    MalformedRequest,
    MosicError,
    TooLarge,
    UnsupportedContentType,
    UnsupportedTusVersion,
)
from mosic.wire import tus

LARGEST = 200


def headers(**fields: str) -> list[tuple[bytes, bytes]]:
    """As ASGI gives them. `upload_length="5"` is `Upload-Length: 5`."""
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]


def creation(**fields: str) -> tus.Creation:
    return tus.parse_creation(headers(**fields), max_size=LARGEST)


def append(**fields: str) -> tus.Append:
    return tus.parse_append(headers(**{"content_type": tus.CONTENT_TYPE, "upload_offset": "0"} | fields))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


NOT_INTEGERS = [
    "",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "0x10",
    "1_000",
    "1 000",
    "abc",
    "5, 5",
    "5,5",
    "٣",
    "²",
    str(2**63),
    str(2**70),
    "9" * 100_000,
]


# Versions


def test_the_version_spoken_is_accepted() -> None:
    tus.check_version(headers(tus_resumable="1.0.0"))
    tus.check_version([(b"Tus-Resumable", b" 1.0.0 ")])


@pytest.mark.parametrize(
    "fields", [{}, {"tus_resumable": "0.2.2"}, {"tus_resumable": ""}, {"tus_resumable": "1"}]
)
def test_another_version_is_refused_and_told_which_is_spoken(fields: dict[str, str]) -> None:
    with pytest.raises(UnsupportedTusVersion) as refusal:
        tus.check_version(headers(**fields))
    assert refusal.value.status == 412
    assert refusal.value.headers["Tus-Version"] == "1.0.0"


def test_the_method_can_be_overridden() -> None:
    assert tus.effective_method("POST", headers(x_http_method_override="PATCH")) == "PATCH"
    assert tus.effective_method("POST", headers(x_http_method_override="delete")) == "DELETE"
    assert tus.effective_method("POST", []) == "POST"


# Creation


def test_creation() -> None:
    assert creation(upload_length="100") == tus.Creation(
        length=100, metadata=tus.Metadata("", {}), with_upload=False, body_size=0, checksum=None
    )


def test_creation_of_an_empty_upload() -> None:
    assert creation(upload_length="0", content_length="0").length == 0


def test_creation_with_deferred_length() -> None:
    assert creation(upload_defer_length="1").length is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"upload_defer_length": "0"},
        {"upload_defer_length": "2"},
        {"upload_defer_length": "true"},
        {"upload_defer_length": ""},
        {"upload_length": "5", "upload_defer_length": "1"},
        {"upload_length": "5", "upload_concat": "partial"},
        {"upload_concat": "final;/files/a /files/b"},
        {"upload_length": "5", "content_length": "-1"},
        {"upload_length": "5", "upload_metadata": "a,a"},
        {"upload_length": "5", "upload_checksum": "md5 aaaa"},
        *({"upload_length": text} for text in NOT_INTEGERS if text.isascii()),
    ],
)
def test_malformed_creation(fields: dict[str, str]) -> None:
    with pytest.raises(MalformedRequest):
        creation(**fields)


@pytest.mark.parametrize("text", NOT_INTEGERS)
@pytest.mark.parametrize("name", [b"upload-offset", b"upload-length", b"content-length"])
def test_what_is_not_a_whole_number(name: bytes, text: str) -> None:
    fields = {b"content-type": tus.CONTENT_TYPE.encode(), b"upload-offset": b"0", name: text.encode()}
    with pytest.raises(MalformedRequest):
        tus.parse_append(fields.items())


def test_the_largest_number() -> None:
    assert append(upload_offset=str(2**63 - 1)).offset == 2**63 - 1


def test_length_and_the_largest_size() -> None:
    assert creation(upload_length="200").length == 200
    with pytest.raises(TooLarge) as refusal:
        creation(upload_length="201")
    assert refusal.value.headers["Tus-Max-Size"] == "200"


def test_creation_with_upload() -> None:
    with_body = creation(upload_length="100", content_type=tus.CONTENT_TYPE, content_length="40")
    assert (with_body.with_upload, with_body.body_size) == (True, 40)
    chunked = creation(upload_length="100", content_type=tus.CONTENT_TYPE, transfer_encoding="chunked")
    assert (chunked.with_upload, chunked.body_size) == (True, None)
    deferred = creation(upload_defer_length="1", content_type=tus.CONTENT_TYPE, content_length="40")
    assert (deferred.with_upload, deferred.length) == (True, None)


@pytest.mark.parametrize(
    "content_type", [{}, {"content_type": "audio/mpeg"}, {"content_type": "application/json"}]
)
@pytest.mark.parametrize("body", [{"content_length": "1"}, {"transfer_encoding": "chunked"}])
def test_creation_with_a_body_of_another_type(content_type: dict[str, str], body: dict[str, str]) -> None:
    with pytest.raises(UnsupportedContentType):
        creation(upload_length="5", **content_type, **body)


def test_creation_without_a_body_may_have_any_type() -> None:
    """Some HTTP libraries add a type to every POST."""
    form = creation(upload_length="5", content_type="application/x-www-form-urlencoded", content_length="0")
    assert form.with_upload is False


def test_a_body_longer_than_the_upload() -> None:
    with pytest.raises(TooLarge):
        creation(upload_length="5", content_type=tus.CONTENT_TYPE, content_length="6")
    with pytest.raises(TooLarge):
        creation(upload_defer_length="1", content_type=tus.CONTENT_TYPE, content_length="201")


# PATCH


def test_append() -> None:
    assert append(upload_offset="70", content_length="30") == tus.Append(
        offset=70, length=None, body_size=30, checksum=None
    )
    assert append(content_type=f"{tus.CONTENT_TYPE.title()}; charset=utf-8").offset == 0


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "application/offset", "audio/mpeg"])
def test_append_of_another_type(content_type: str) -> None:
    with pytest.raises(UnsupportedContentType) as refusal:
        append(content_type=content_type)
    assert refusal.value.status == 415


def test_append_without_type_or_offset() -> None:
    with pytest.raises(UnsupportedContentType):
        tus.parse_append(headers(upload_offset="0"))
    with pytest.raises(MalformedRequest):
        tus.parse_append(headers(content_type=tus.CONTENT_TYPE))


def test_a_field_sent_twice_is_a_list() -> None:
    twice = [(b"content-type", tus.CONTENT_TYPE.encode()), (b"Upload-Offset", b"5"), (b"upload-offset", b"5")]
    with pytest.raises(MalformedRequest):
        tus.parse_append(twice)
    metadata = [(b"upload-length", b"5"), (b"Upload-Metadata", b"a YQ=="), (b"Upload-Metadata", b"b")]
    assert tus.parse_creation(metadata, max_size=9).metadata.values == {"a": "a", "b": ""}


@pytest.mark.parametrize(
    ("known", "fields", "settled"),
    [
        (100, {}, 100),
        (100, {"upload_length": "100"}, 100),  # said again
        (None, {}, None),
        (None, {"upload_length": "100"}, 100),
        (None, {"upload_offset": "100", "upload_length": "100"}, 100),
        (100, {"upload_offset": "60", "content_length": "40"}, 100),
        (None, {"upload_offset": "60", "content_length": "140"}, None),
    ],
)
def test_the_length_after_an_append(known: int | None, fields: dict[str, str], settled: int | None) -> None:
    assert tus.settle_length(known, append(**fields), max_size=LARGEST) == settled


@pytest.mark.parametrize(
    ("known", "fields", "error"),
    [
        (100, {"upload_length": "99"}, MalformedRequest),  # once set it must not change
        (100, {"upload_length": "101"}, MalformedRequest),
        (None, {"upload_offset": "60", "upload_length": "59"}, MalformedRequest),
        (None, {"upload_length": "201"}, TooLarge),
        (100, {"upload_offset": "60", "content_length": "41"}, TooLarge),
        (None, {"upload_offset": "60", "upload_length": "100", "content_length": "41"}, TooLarge),
        (None, {"upload_offset": "60", "content_length": "141"}, TooLarge),
    ],
)
def test_a_length_that_cannot_be(known: int | None, fields: dict[str, str], error: type[MosicError]) -> None:
    with pytest.raises(error):
        tus.settle_length(known, append(**fields), max_size=LARGEST)


# Metadata


def test_metadata() -> None:
    raw = f"filename {encoded('音楽 é.mp3')},title {encoded('Größe')},is_confidential,empty "
    metadata = tus.parse_metadata(raw)
    assert metadata.values == {
        "filename": "音楽 é.mp3",
        "title": "Größe",
        "is_confidential": "",
        "empty": "",
    }
    assert metadata.raw == raw


@given(
    st.dictionaries(
        st.from_regex(r"[!-+\--~]{1,20}", fullmatch=True),
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=50),
        max_size=10,
    ),
    st.sampled_from([",", ", ", " ,"]),
)
def test_any_metadata(values: dict[str, str], comma: str) -> None:
    raw = comma.join(f"{key} {encoded(value)}" for key, value in values.items())
    assert tus.parse_metadata(raw).values == values


def test_metadata_that_is_not_utf8_is_latin1() -> None:
    raw = "title " + base64.b64encode(b"caf\xe9").decode()
    assert tus.parse_metadata(raw).values == {"title": "café"}


@pytest.mark.parametrize(
    "raw",
    [
        ",",
        "a YQ==,",
        ",a YQ==",
        "a YQ==,,b YQ==",
        "a YQ==,a Yg==",
        "a,a",
        "a Y",
        "a YQ",
        "a YQ=",
        "a Y Q==",
        "a YQ==YQ==",
        "a -_-_",
        "a YQ==;b",
        "é YQ==",
        "a\tYQ==",
        "a\x7f YQ==",
        "a YQ==\n",
        "a \xa0YQ==",
        "a " + base64.b64encode(b"x\0y").decode(),
    ],
)
def test_malformed_metadata(raw: str) -> None:
    with pytest.raises(MalformedRequest):
        tus.parse_metadata(raw)


def test_metadata_is_bounded() -> None:
    tus.parse_metadata(",".join(f"k{n}" for n in range(64)))
    tus.parse_metadata("a " + "QUFB" * 349)  # 1398 bytes
    with pytest.raises(MalformedRequest):
        tus.parse_metadata(",".join(f"k{n}" for n in range(65)))
    with pytest.raises(MalformedRequest):
        tus.parse_metadata("a " + "QUFB" * 350)


# Checksums


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_checksum(algorithm: str) -> None:
    body = b"hello world"
    digest = base64.b64encode(hashlib.new(algorithm, body).digest()).decode()
    for checksum in (
        append(upload_checksum=f"{algorithm} {digest}").checksum,
        creation(upload_length="11", upload_checksum=f"{algorithm} {digest}").checksum,
    ):
        assert checksum is not None
        hasher = checksum.hasher()
        hasher.update(body[:4])
        hasher.update(body[4:])
        checksum.verify(hasher)
        hasher.update(b"!")
        with pytest.raises(ChecksumMismatch) as refusal:
            checksum.verify(hasher)
        assert refusal.value.status == 460


def test_the_example_of_the_specification() -> None:
    checksum = append(upload_checksum="sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").checksum
    assert checksum is not None
    hasher = checksum.hasher()
    hasher.update(b"hello world")
    checksum.verify(hasher)


@pytest.mark.parametrize(
    "declared",
    [
        "",
        "sha1",
        "sha1 ",
        "Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "md5 XrY7u+Ae7tCTyyK7j1rNww==",  # not announced
        "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",  # names are lower-case
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0",
        "sha1 ****",
        "sha1 XrY7u+Ae7tCTyyK7j1rNww==",  # the size of another algorithm
        "sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=, sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
    ],
)
def test_a_checksum_that_cannot_be_verified(declared: str) -> None:
    with pytest.raises(MalformedRequest) as refusal:
        append(upload_checksum=declared)
    assert refusal.value.status == 400


# Answers


def test_what_the_server_announces() -> None:
    announced = tus.options_headers(max_size=123)
    assert announced["Tus-Version"] == "1.0.0"
    assert announced["Tus-Max-Size"] == "123"
    assert "sha1" in announced["Tus-Checksum-Algorithm"].split(",")
    extensions = announced["Tus-Extension"].split(",")
    assert {"creation", "creation-with-upload", "creation-defer-length", "termination"} <= set(extensions)
    assert {"checksum", "expiration"} <= set(extensions)
    assert not {"concatenation", "checksum-trailer"} & set(extensions)


def test_what_head_says() -> None:
    assert tus.head_headers(offset=0, length=100) == {
        "Tus-Resumable": "1.0.0",
        "Cache-Control": "no-store",
        "Upload-Offset": "0",
        "Upload-Length": "100",
    }
    deferred = tus.head_headers(offset=5, length=None, raw_metadata="a YQ==,b ")
    assert deferred["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in deferred
    assert deferred["Upload-Metadata"] == "a YQ==,b "


def test_when_an_upload_expires() -> None:
    """The date of the specification's example, given in another time zone."""
    when = datetime(2014, 6, 25, 18, 0, tzinfo=timezone(timedelta(hours=2)))
    assert tus.offset_headers(20, when)["Upload-Expires"] == "Wed, 25 Jun 2014 16:00:00 GMT"
    assert tus.head_headers(offset=20, length=None, expires=when.astimezone(UTC))["Upload-Expires"] == (
        "Wed, 25 Jun 2014 16:00:00 GMT"
    )
    assert "Upload-Expires" not in tus.offset_headers(20)


def test_a_browser_may_read_and_send_every_header_used() -> None:
    exposed = set(tus.RESPONSE_HEADERS.split(", ")) | {"Cache-Control"}
    said = tus.options_headers(max_size=1)
    said |= tus.head_headers(offset=1, length=1, raw_metadata="a", expires=datetime.now(UTC))
    said |= tus.head_headers(offset=1, length=None)
    assert set(said) <= exposed
    assert {"Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Checksum"} <= set(
        tus.REQUEST_HEADERS.split(", ")
    )
