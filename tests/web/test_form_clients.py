"""Forms as clients write them, on the wire and by the clients themselves: texts, names, parts of files."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import httpx
import pytest
import requests

from tests.support.exchange import Answer, exchange, head
from tests.support.node import packages
from tests.support.programs import needs
from tests.support.service import AUTH, KEY, Service
from tests.support.sounds import wav

BOUNDARY = "b0undary"
_made = iter(range(10_000, 20_000))


def fresh() -> bytes:
    return wav(0.1, seed=next(_made))


def part(disposition: bytes, content: bytes, *lines: bytes) -> bytes:
    fields = b"\r\n".join((b"Content-Disposition: form-data; " + disposition, *lines))
    return b"--" + BOUNDARY.encode() + b"\r\n" + fields + b"\r\n\r\n" + content + b"\r\n"


def file_part(content: bytes, name: bytes = b'filename="x.wav"') -> bytes:
    return part(b'name="file"; ' + name, content)


async def send_form(service: Service, *parts: bytes, fields: tuple[str, ...] = ()) -> Answer:
    body = b"".join(parts) + b"--" + BOUNDARY.encode() + b"--\r\n"
    request = head(
        "POST",
        "/play/upload",
        f"X-API-Key: {KEY}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}",
        *fields,
    )
    return await exchange(service.port, request + body)


async def send_raw(service: Service, method: str, path: str, body: bytes, *fields: str) -> Answer:
    request = head(method, path, f"X-API-Key: {KEY}", f"Content-Length: {len(body)}", *fields)
    return await exchange(service.port, request + body)


def clip_of(answer: Answer, status: int = 201) -> dict[str, Any]:
    assert answer.status == status, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("ISO-8859-1", b"Caf\xe9", "Café"),
        ('"iso-8859-1"', b"Don\x92t", "Don’t"),  # as browsers read Latin-1
        ("windows-1251", "Привет".encode("cp1251"), "Привет"),
        ("Shift_JIS", "東京".encode("shift_jis"), "東京"),
        ("Shift_JIS", "①髙".encode("cp932"), "①髙"),  # the letters that Windows added
        ("windows-31j", "東京".encode("cp932"), "東京"),
        ("gb2312", "镕".encode("gbk"), "镕"),
        ("x-windows-949", "서울".encode("cp949"), "서울"),
        ("iso-8859-8-i", "שלום".encode("iso8859_8"), "שלום"),
        ("iso88592", "Łódź".encode("iso8859_2"), "Łódź"),
        ("UTF-32", "Größe".encode("utf-32"), "Größe"),
        ("UTF-16", "Größe".encode("utf-16"), "Größe"),
        ("UTF-8", "Größe".encode(), "Größe"),
        ("US-ASCII", "Größe".encode(), "Größe"),  # the label is wrong, and the text is UTF-8
        ("UTF-8", b"Caf\xe9", "Café"),
        ("unicode_escape", b"a\\x41b", "a\\x41b"),  # a codec of Python's, but no encoding of texts
        ("nonsense", "Größe".encode(), "Größe"),
        (None, "Größe".encode(), "Größe"),
        (None, b"Caf\xe9", "Café"),
    ],
)
async def test_a_text_is_read_in_its_own_charset(
    service: Service, charset: str | None, raw: bytes, text: str
) -> None:
    declared = () if charset is None else (b"Content-Type: text/plain; charset=" + charset.encode(),)
    answer = await send_form(service, part(b'name="title"', raw, *declared), file_part(fresh()))
    assert clip_of(answer)["title"] == text


@pytest.mark.parametrize("first", [True, False])
async def test_a_form_names_the_charset_of_its_texts(service: Service, first: bool) -> None:
    """RFC 7578 §4.6; the field may stand anywhere, and a text's own charset wins."""
    common = part(b'name="_charset_"', b"koi8-r")
    texts = (
        part(b'name="title"', "Привет".encode("koi8-r")),
        part(b'name="artist"', b"Caf\xe9", b"Content-Type: text/plain; charset=iso-8859-1"),
    )
    parts = (common, *texts) if first else (*texts, common)
    clip = clip_of(await send_form(service, *parts, file_part(fresh())))
    assert (clip["title"], clip["artist"]) == ("Привет", "Café")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        (b'filename="Song (12" mix).wav"', 'Song (12" mix)'),
        (b'filename="Song.wav\\"', "Song"),  # ends in a backslash
        (b'filename="A \\"', "A"),
        (b"filename*=windows-1252''Don%92t.wav", "Don’t"),
        (b'filename="=?ISO-8859-1?Q?Caf=E9?=.wav"', "Café"),
        (b'filename="%E9%9F%B3.wav"', "音"),
        (b"filename*=UTF-8''%FF%FE%00.wav", None),
        (b'filename="' + b"\xff\x00\x1b" * 50 + b'.wav"', None),
        (b'filename="', "Untitled"),
    ],
)
async def test_no_name_of_a_file_refuses_its_bytes(service: Service, name: bytes, title: str | None) -> None:
    clip = clip_of(await send_form(service, file_part(fresh(), name)))
    if title is not None:
        assert clip["title"] == title


@pytest.mark.parametrize("padding", [b" ", b"\t ", b" " * 200])
async def test_boundary_lines_may_end_in_blanks(service: Service, padding: bytes) -> None:
    line = b"--" + BOUNDARY.encode()
    title = part(b'name="title"', b"Padded").replace(line, line + padding)
    content = fresh()
    clip = clip_of(await send_form(service, title, file_part(content).replace(line, line + padding)))
    assert (clip["title"], clip["sha256"]) == ("Padded", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/play/upload/100%25.wav", "100%"),
        ("/play/upload/100%2525.wav", "100%25"),
        ("/play/upload/Caf%E9.wav", "Café"),
        ("/play/upload/Caf%C3%A9.wav/", "Café"),
        ("/play/upload/AC%2FDC.wav", "DC"),
        ("/play/upload?filename=100%2525.wav", "100%25"),
        ("/play/upload?title=Caf%E9", "Café"),
        ("/play/upload?title=Caf%C3%A9&artist=A+B", "Café"),
    ],
)
async def test_names_in_a_url_are_decoded_once(service: Service, path: str, title: str) -> None:
    assert clip_of(await send_raw(service, "PUT", path, fresh()))["title"] == title


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 4000-7999/8000",
        "bytes 0-3999/8000",
        "bytes 0-7999/*",
        "bytes */8000",
        "bytes 0-7999/8001",
        "items 0-7999/8000",
        "nonsense",
        "bytes 0-7999/8000\r\nContent-Range: bytes 0-7999/8000",
        "bytes 0-" + "9" * 5000,
    ],
)
@pytest.mark.parametrize("form", [True, False])
async def test_a_part_of_a_file_becomes_no_clip(service: Service, content_range: str, form: bool) -> None:
    """RFC 9110 §14.5: 400, so that a client learns that the server does not put parts together."""
    content, field = fresh(), f"Content-Range: {content_range}"
    if form:
        answer = await send_form(service, file_part(content), fields=(field,))
    else:
        answer = await send_raw(service, "PUT", "/play/upload", content, field)
    assert answer.status == 400
    problem = json.loads(answer.body)
    assert problem["code"] == "partial-upload"
    assert "/play/uploads" in problem["detail"]
    assert (await service.http.get(f"/play?sha256={hashlib.sha256(content).hexdigest()}")).json() == []


async def test_a_content_range_of_the_whole_is_no_part(service: Service) -> None:
    for send_as_form in (False, True):
        content = fresh()
        field = f"Content-Range: bytes 0-{len(content) - 1}/{len(content)}"
        if send_as_form:
            clip_of(await send_form(service, file_part(content), fields=(field,)))
        else:
            clip_of(await send_raw(service, "PUT", "/play/upload", content, field))


async def test_a_form_whose_file_is_not_as_long_as_its_content_range_says(service: Service) -> None:
    content = fresh()
    field = f"Content-Range: bytes 0-{len(content)}/{len(content) + 1}"
    answer = await send_form(service, file_part(content), fields=(field,))
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "partial-upload")


async def test_words_sent_with_known_bytes_are_named_when_not_taken(service: Service) -> None:
    content = fresh()

    async def send(*texts: bytes) -> Answer:
        return await send_form(service, *texts, file_part(content))

    title, artist = part(b'name="title"', b"First"), part(b'name="artist"', b"Ana")
    first = await send(title, artist)
    assert "mosic-ignored-fields" not in first.fields
    clip_of(first)
    again = await send(title, artist)
    assert clip_of(again, 200)["title"] == "First"
    assert "mosic-ignored-fields" not in again.fields
    other = await send(part(b'name="title"', b"Second"), artist, part(b'name="genre"', b"Jazz"))
    clip = clip_of(other, 200)
    assert (clip["title"], clip["genre"]) == ("First", None)
    assert other.fields["mosic-ignored-fields"] == "title, genre"
    raw = await send_raw(service, "PUT", "/play/upload?track_number=7&title=First", content)
    assert clip_of(raw, 200)["track_number"] is None
    assert raw.fields["mosic-ignored-fields"] == "track_number"
    asked = "Expect: 100-continue\r\nRepr-Digest: sha-256=:" + clip_digest(content) + ":"
    unsent = await send_raw(service, "PUT", "/play/upload?album=Else", content, asked)
    assert unsent.fields["mosic-ignored-fields"] == "album"


def clip_digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


async def test_words_of_a_resumable_upload_of_known_bytes_are_named_too(service: Service) -> None:
    content = fresh()
    clip_of(await send_raw(service, "PUT", "/play/upload?title=First", content))
    word = base64.b64encode(b"Second").decode()
    created = await service.http.post(
        "/play/uploads",
        headers=AUTH
        | {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(content)), "Upload-Metadata": f"title {word}"},
    )
    patched = await service.http.patch(
        created.headers["location"],
        content=content,
        headers=AUTH
        | {
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
        },
    )
    assert patched.status_code == 204
    assert patched.headers["mosic-ignored-fields"] == "title"


NAME = 'Größe 音 (12" mix).wav'
TITLE = "Café — Größe"

Send = Callable[[Service, Path], Awaitable[dict[str, Any]]]


async def by_requests(service: Service, path: Path) -> dict[str, Any]:
    def send() -> dict[str, Any]:
        with path.open("rb") as file:
            answer = requests.post(
                f"{service.url}/play/upload",
                headers=AUTH,
                files={"file": (NAME, file)},
                data={"title": TITLE},
                timeout=60,
            )
        found: dict[str, Any] = answer.json()
        return found

    return await asyncio.to_thread(send)


async def by_httpx(service: Service, path: Path) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{service.url}/play/upload",
            headers=AUTH,
            files={"file": (NAME, path.read_bytes())},
            data={"title": TITLE},
        )
    found: dict[str, Any] = answer.json()
    return found


async def by_aiohttp(service: Service, path: Path, *, quoted: bool = True) -> dict[str, Any]:
    form = aiohttp.FormData(quote_fields=quoted)
    form.add_field("title", TITLE)
    form.add_field("file", path.read_bytes(), filename=NAME)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{service.url}/play/upload", data=form, headers=AUTH) as answer,
    ):
        found: dict[str, Any] = await answer.json(content_type=None)
        return found


async def by_aiohttp_unquoted(service: Service, path: Path) -> dict[str, Any]:
    return await by_aiohttp(service, path, quoted=False)


@pytest.mark.parametrize("send", [by_requests, by_httpx, by_aiohttp, by_aiohttp_unquoted])
async def test_clients_in_python(service: Service, tmp_path: Path, send: Send) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(fresh())
    assert (await send(service, path))["title"] == TITLE
    path.write_bytes(fresh())
    assert await stored_name(service, await send(service, path)) == NAME


async def stored_name(service: Service, clip: dict[str, Any]) -> str:
    """The name of the file, as a listener is offered it."""
    offered = (await service.http.head(f"/play/{clip['id']}/stream")).headers["content-disposition"]
    extended = offered.rpartition("''")[2]
    assert quote(NAME, safe="!#$&+^`|") == extended, offered
    return unquote(extended)


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 120)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()[-3000:]
    return out.decode()


@needs("curl")
async def test_curl(service: Service, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(fresh())
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    clip = json.loads(
        await run(
            *("curl", "-sS", "-H", f"X-API-Key: {KEY}", "-F", f'file=@"{escaped}"', "-F", f"title={TITLE}"),
            f"{service.url}/play/upload",
        )
    )
    assert clip["title"] == TITLE
    assert await stored_name(service, clip) == NAME
    path.write_bytes(fresh())
    clip = json.loads(
        await run("curl", "-sS", "-H", f"X-API-Key: {KEY}", "-T", str(path), f"{service.url}/play/upload/")
    )
    assert await stored_name(service, clip) == NAME
    refused = await run(
        *("curl", "-sS", "-C", "100", "-H", f"X-API-Key: {KEY}", "-T", str(path)),
        f"{service.url}/play/upload/",
    )
    assert json.loads(refused)["code"] == "partial-upload"


NODE_PACKAGES = ("form-data@4.0.0", "axios@1.7.9", "undici@6.21.0", "got@14.4.5", "superagent@10.1.1")


@pytest.mark.slow
@pytest.mark.parametrize("client", ["axios", "got", "undici", "superagent"])
async def test_clients_of_node(
    service: Service, tmp_path: Path, pytestconfig: pytest.Config, client: str
) -> None:
    folder = packages(pytestconfig, "form-clients", *NODE_PACKAGES)
    script = folder / "form_clients.cjs"
    shutil.copy(Path(__file__).with_name("form_clients.cjs"), script)
    path = tmp_path / "x.wav"
    path.write_bytes(fresh())
    options = {"url": f"{service.url}/play/upload", "key": KEY, "path": str(path)}
    printed = await run("node", str(script), client, json.dumps(options | {"name": NAME, "title": TITLE}))
    clip = json.loads(printed)
    assert clip["title"] == TITLE
    assert await stored_name(service, clip) == NAME


JARS = [Path("/usr/share/java") / f"{name}.jar" for name in ("httpclient", "httpcore", "httpmime")]


@pytest.mark.slow
@needs("java")
@pytest.mark.skipif(
    not all(jar.exists() for jar in JARS), reason="needs libhttpclient-java, libhttpmime-java"
)
async def test_apache_httpclient(service: Service, tmp_path: Path) -> None:
    """Its texts are ISO-8859-1 unless it is asked for something else."""
    path = tmp_path / "x.wav"
    path.write_bytes(fresh())
    printed = await run(
        *("java", "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8"),
        *("-cp", ":".join([*map(str, JARS), "/usr/share/java/commons-logging.jar"])),
        str(Path(__file__).with_name("FormClient.java")),
        *(f"{service.url}/play/upload", KEY, str(path), 'Song (12" mix).wav', "Café"),
    )
    clip = json.loads(printed)
    assert clip["title"] == "Café"
