"""Which key is sent, and to which URL."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.relays import relaying
from tests.support.service import KEY, Service
from tests.support.sounds import wav
from tests.support.uploading import ended, run, start


async def test_a_wrong_key_is_said_once_and_never_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOSIC_API_KEY", "no-such-key-1")
    Path("a.wav").write_bytes(wav(seed=1))
    Path("b.wav").write_bytes(wav(seed=2))
    assert await run("a.wav", "b.wav", url=service.url, jobs=1) == 1
    out, err = capsys.readouterr()
    assert out == "Added 0, already there 0, failed 0, not sent 2.\n"
    assert err == "mosic: The key in the header X-API-Key is not valid. (unauthorized)\n"
    assert "no-such-key-1" not in out + err
    assert await run("a.wav", "b.wav", url=service.url, api_key=f"{KEY},other") == 0


async def test_the_first_of_several_keys_in_the_environment_is_used(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSIC_API_KEY", f"{KEY}, next-key")
    monkeypatch.setenv("MOSIC_APP_PORT", str(service.port))
    Path("a.wav").write_bytes(wav())
    assert await run("a.wav") == 0


async def test_the_made_key_serves_for_this_machine_only(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MOSIC_API_KEY")
    Path("a.wav").write_bytes(wav())
    Path(".mosic").mkdir()
    Path(".mosic/api_key").write_text(KEY + "\n")
    assert await run("a.wav", url=f"{service.url}/") == 0
    # It is said which file that was.
    assert (
        capsys.readouterr().err == f"mosic: the API key is the one in {Path('.mosic/api_key').absolute()}\n"
    )
    assert await run("a.wav", url="http://music.invalid") == 2
    assert capsys.readouterr().err == "mosic: an API key is needed: give --api-key or set MOSIC_API_KEY\n"
    # The address of this very service, as the world sees it: with a key of the folder that goes with it only.
    monkeypatch.setenv("MOSIC_PUBLIC_URL", service.url.replace("127.0.0.1", "0.0.0.0"))  # noqa: S104
    assert await run("a.wav") == 2
    monkeypatch.setenv("MOSIC_DATA_DIR", ".mosic")
    assert await run("a.wav") == 0


async def test_a_folder_cannot_say_where_the_key_goes(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A downloaded album may have files that look like settings in it."""
    Path("a.wav").write_bytes(wav())
    async with relaying(0) as thief:
        thief.instead = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"] * 9
        Path(".env").write_text(
            f"MOSIC_PUBLIC_URL={thief.url}\nMOSIC_PORT={thief.port}\nMOSIC_HOST=localhost\n"
            "MOSIC_API_KEY=of-the-album-of-the-album\n"
        )
        # The key of the environment goes where the environment says.
        monkeypatch.setenv("MOSIC_PUBLIC_URL", service.url)
        assert await run("a.wav") == 0
        # Without a URL it goes to this machine; what listens there is no matter of the folder.
        monkeypatch.delenv("MOSIC_PUBLIC_URL")
        monkeypatch.setenv("MOSIC_APP_PORT", str(service.port))
        assert await run("a.wav") == 0
        # Nor does its key go anywhere.
        capsys.readouterr()
        monkeypatch.delenv("MOSIC_API_KEY")
        assert await run("a.wav", url=thief.url.replace("127.0.0.1", "music.invalid")) == 2
        assert f"{Path('.env').absolute()} is not read by this command" in capsys.readouterr().err
        assert thief.connected_at == []


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["gone.wav"], {}, "gone.wav: No such file or directory"),
        (["a.wav", "pipe"], {}, "pipe: neither a file nor a folder"),
        (["a.wav"], {"url": "music.example"}, "--url must be"),
        (["a.wav"], {"url": "http://music.example/?q"}, "--url must be"),
        (["a.wav"], {"url": "http://music.example:port"}, "--url must be"),
        (["a.wav"], {"url": ""}, "--url must be"),
        (["a.wav"], {"api_key": "two words"}, "--api-key must be"),
    ],
)
async def test_a_wrong_command_sends_nothing(
    paths: list[str], options: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.wav").write_bytes(wav())
    os.mkfifo("pipe")
    assert await run(*paths, **options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mosic: {message}")


@pytest.mark.slow
async def test_the_exit_status_is_that_of_the_process(service: Service) -> None:
    assert (await ended(await start("gone.wav")))[0] == 2
    Path("text.mp3").write_text("no sound")
    assert (await ended(await start("text.mp3", "--url", service.url)))[0] == 1


async def test_a_redirect_is_told_of_and_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    async with relaying(0) as other, relaying(0) as first:
        first.instead = [
            f"HTTP/1.1 307 Elsewhere\r\nLocation: http://u:pass@localhost:{other.port}/play\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        ]
        Path("a.wav").write_bytes(wav())
        assert await run("a.wav", url=first.url) == 1
        assert other.connected_at == []
    err = capsys.readouterr().err
    assert err.startswith(f"mosic: {first.url} redirects to http://localhost:{other.port};")
    assert "pass" not in err


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<p>Hi</p>",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["a page", "nothing there", "closed", "no HTTP"],
)
async def test_what_is_not_mosic_is_given_up_at_once(
    answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.wav", "b.wav"):
        Path(name).write_bytes(wav())
    async with relaying(0) as other:
        other.instead = [answer] * 9
        assert await run(".", url=other.url, jobs=1) == 1
        assert len(other.connected_at) == 1
    out, err = capsys.readouterr()
    assert out == "Added 0, already there 0, failed 0, not sent 2.\n"
    assert re.fullmatch(rf"mosic: \S*{other.port}(/play)? does not respond .*\?\n", err)
