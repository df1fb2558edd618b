"""What is found, sent and said: files and folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.relays import Relay
from tests.support.service import Service
from tests.support.sounds import wav
from tests.support.uploading import OVERHEAD, noise, remembered, run, sha256, stored


async def test_a_folder_is_sent_once(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    contents = {
        f"music/{name}": wav(seed=seed) for seed, name in enumerate(("b.wav", "a/Ü 1.WAV", "a/b/c.wav"))
    }
    for name, content in contents.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for junk in ("music/cover.jpg", "music/a/.hidden.wav", "music/.trash/old.wav", "music/a/notes.txt"):
        Path(junk).parent.mkdir(exist_ok=True)
        Path(junk).write_bytes(wav(seed=9))
    Path("music/a/again").symlink_to("..")
    os.mkfifo("music/pipe.mp3")

    assert await run("music", url=service.url, jobs=1) == 0
    size = sum(map(len, contents.values()))
    assert capsys.readouterr().out == (
        "added   music/b.wav\n"
        "added   music/a/Ü 1.WAV\n"
        "added   music/a/b/c.wav\n"
        f"Added 3 ({size / 1000:.1f} kB), already there 0, failed 0. "
        "Skipped 5 (hidden, or no audio file by name).\n"
    )
    assert await stored(service) == {Path(name).stem: sha256(content) for name, content in contents.items()}

    assert await run("music", "music/a/b/c.wav", "music/a", url=service.url, jobs=1) == 0
    out, err = capsys.readouterr()
    assert out == (
        "present music/b.wav\n"
        "present music/a/Ü 1.WAV\n"
        "present music/a/b/c.wav\n"
        "Added 0, already there 3, failed 0. Skipped 5 (hidden, or no audio file by name).\n"
    )
    assert err == ""


async def test_a_named_file_is_sent_whatever_its_name(service: Service) -> None:
    Path(".sound").write_bytes(wav())
    assert await run(".sound", ".sound", url=service.url) == 0
    assert list((await stored(service)).values()) == [sha256(wav())]


async def test_what_cannot_be_read_or_is_refused_fails_and_the_others_go_on(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.wav").write_bytes(wav(seed=1))
    Path("gone.mp3").symlink_to("nowhere.mp3")
    Path("circle.mp3").symlink_to("circle.mp3")
    Path("text.mp3").write_text("no sound at all\n" * 100)
    Path("nothing.mp3").touch()
    Path("z.wav").write_bytes(wav(seed=2))
    assert await run(".", url=service.url, jobs=2) == 1
    out, err = capsys.readouterr()
    expected = [
        "./circle.mp3: Too many levels of symbolic links",
        "./gone.mp3: No such file or directory",
        "./nothing.mp3: The file is empty. (unsupported-media)",
        "./text.mp3: This file is text. (unsupported-media)",
    ]
    lines = out.splitlines()
    assert sorted(lines[:-1]) == ["added   ./a.wav", "added   ./z.wav"]
    assert lines[-1].startswith("Added 2 (")
    assert lines[-1].endswith(", already there 0, failed 4.")
    # Each once, where errors go.
    assert sorted(err.splitlines()) == [f"failed  {reason}" for reason in expected]
    assert set(await stored(service)) == {"a", "z"}
    assert remembered(tmp_path) == {}


async def test_a_name_cannot_touch_the_terminal(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    Path(os.fsdecode(b"caf\xe9 \x1b[2J\n.wav")).write_bytes(wav())
    assert await run(".", url=service.url) == 0
    assert capsys.readouterr().out.startswith("added   ./caf\\udce9 \\x1b[2J\\n.wav\n")
    assert len(await stored(service)) == 1


async def test_the_same_bytes_twice_are_sent_once(relay: Relay, capsys: pytest.CaptureFixture[str]) -> None:
    content = noise(500_000)
    for name in ("a.wav", "b.wav", "c.wav"):
        Path(name).write_bytes(content)
    assert await run(".", url=relay.url, jobs=3) == 0
    assert capsys.readouterr().out.endswith("already there 2, failed 0.\n")
    assert relay.sent < len(content) + 3 * OVERHEAD
