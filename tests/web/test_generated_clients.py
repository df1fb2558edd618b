"""Clients that the generators of others make of the OpenAPI document work, and are right as to types."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.support.databases import shown
from tests.support.node import packages
from tests.support.programs import needs_ffmpeg
from tests.support.service import AUTH, KEY, Service, running_service
from tests.support.sounds import ffmpeg
from tests.support.venvs import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_ffmpeg]

# The types of content that the generator does not know, and what they are like.
PYTHON_CONFIG = {
    "content_type_overrides": {
        "application/offset+octet-stream": "application/octet-stream",
        "audio/*": "application/octet-stream",
        "image/*": "application/octet-stream",
        "image/svg+xml": "text/plain",
        "text/vtt": "text/plain",
        "application/lrc": "text/plain",
        "application/merge-patch+json": "application/json",
        "application/json+chapters": "application/json",
        "application/problem+json": "application/json",
    }
}
PYTHON = """
import sys
import time

from made import AuthenticatedClient
from made.api.clips import edit_clip, get_waveform, list_clips, upload_clip_put
from made.models import Clip, ClipEdit, GetWaveformPending, GetWaveformWaveform, Problem
from made.types import File

url, key, name = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key, prefix="", auth_header_name="X-API-Key")
with open(name, "rb") as song:
    clip = upload_clip_put.sync(client=client, body=File(song), filename="song.flac", title="Made")
assert isinstance(clip, Clip), clip
assert clip.title == "Made" and clip.media_type == "audio/flac"
found = list_clips.sync(client=client, limit=10)
assert isinstance(found, list) and [one.id for one in found] == [clip.id]
read = edit_clip.sync_detailed(str(clip.id), client=client, body=ClipEdit(artist="Somebody", genre=None))
assert isinstance(read.parsed, Clip) and read.parsed.artist == "Somebody" and read.headers["ETag"]
late = edit_clip.sync(str(clip.id), client=client, body=ClipEdit(artist="Else"), if_match='"old"')
assert isinstance(late, Problem) and late.code == "precondition-failed", late
for _ in range(600):
    waveform = get_waveform.sync(str(clip.id), client=client, points=100)
    if not isinstance(waveform, GetWaveformPending):
        break
    time.sleep(0.1)
assert isinstance(waveform, GetWaveformWaveform), waveform
assert waveform.length <= 100 and len(waveform.data) == 2 * waveform.length and max(waveform.data) > 0
print(waveform.length)
"""
TYPESCRIPT = """
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const [url, key, name] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { "X-API-Key": key } });
const check: (held: unknown, what: unknown) => asserts held = (held, what) => {
  if (!held) throw new Error(JSON.stringify(what));
};

const body = await readFile(name);
const made = await client.PUT("/play/upload", {
  params: { query: { filename: "song.flac", title: "Made" } },
  body: body as unknown as string,
  bodySerializer: (bytes) => bytes,
  headers: { "Content-Type": "application/octet-stream" },
});
check(made.data, made.error);
const clip: components["schemas"]["ClipOut"] = made.data;
check(clip.title === "Made" && clip.media_type === "audio/flac", clip);
const found = await client.GET("/play", { params: { query: { limit: 10 } } });
check(found.data?.length === 1 && found.data[0].id === clip.id, found);
const one = { params: { path: { clip_id: clip.id } } };
const edited = await client.PATCH("/play/{clip_id}", { ...one, body: { artist: "Somebody", genre: null } });
check(edited.data?.artist === "Somebody" && edited.response.headers.get("ETag"), edited);
const late = await client.PATCH("/play/{clip_id}", {
  params: { ...one.params, header: { "If-Match": '"old"' } }, body: { artist: "Else" },
});
check(late.error?.code === "precondition-failed", late);
for (let asked = 0; ; asked += 1) {
  const params = { ...one.params, query: { points: 100 } };
  const { data, error, response } = await client.GET("/play/{clip_id}/waveform", { params });
  check(data && asked < 600, error);
  if (response.status === 202) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    continue;
  }
  check(typeof data === "object" && "data" in data, data);
  check(data.length <= 100 && data.data.length === 2 * data.length && Math.max(...data.data) > 0, data);
  console.log(data.length);
  break;
}
"""
TSC = ("--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler")


@pytest.fixture
async def service(tmp_path: Path, database_url: URL) -> AsyncIterator[Service]:
    async with running_service(tmp_path / "media", shown(database_url), works_at_once=1) as running:
        yield running


@pytest.fixture
async def document(service: Service, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes((await service.http.get("/openapi.json", headers=AUTH)).content)
    return path


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.flac"
    ffmpeg("-f", "lavfi", "-i", "sine=220:duration=3", path)
    return path


async def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    variables = dict(os.environ)
    variables.pop("PYTHONPATH", None)
    if path is not None:
        variables["PATH"] = f"{path}:{variables['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env=variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said[-6000:]
    return said


async def test_openapi_python_client(
    service: Service, document: Path, song: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    programs = environment(
        pytestconfig, "python-generator", "openapi-python-client==0.29.1", "ruff==0.17.6", "mypy==2.4.1"
    )
    config = tmp_path / "config.json"
    config.write_text(json.dumps(PYTHON_CONFIG))
    arguments = ("--path", document, "--output-path", tmp_path / "made", "--meta", "none", "--config", config)
    said = await run(programs / "openapi-python-client", "generate", *arguments, cwd=tmp_path, path=programs)
    assert "warning" not in said.lower(), said[-6000:]
    user = tmp_path / "user.py"
    user.write_text(PYTHON)
    # The generator copies it as it is, whatever the document says.
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-made.client]\nignore_errors = True\n")
    await run(programs / "mypy", "made", "user.py", cwd=tmp_path)
    said = await run(programs / "python", user, service.url, KEY, song, cwd=tmp_path)
    assert 0 < int(said) <= 100


async def test_openapi_typescript(
    service: Service, document: Path, song: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    wanted = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@20.19.0")
    modules = packages(pytestconfig, "typescript-generator", *wanted) / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    programs = tmp_path / "node_modules/.bin"
    said = await run(programs / "openapi-typescript", document, "-o", "schema.d.ts", cwd=tmp_path)
    assert "warn" not in said.lower(), said
    (tmp_path / "user.mts").write_text(TYPESCRIPT.replace('"./schema"', '"./schema.d.ts"'))
    await run(programs / "tsc", *TSC, "--types", "node", "user.mts", cwd=tmp_path)
    await run(
        *(programs / "tsc", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "user.mts"),
        cwd=tmp_path,
    )
    said = await run("node", "user.mjs", service.url, KEY, song, cwd=tmp_path)
    assert 0 < int(said) <= 100
