"""What a process that reads the files of strangers may still do: next to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from encodings.aliases import aliases
from pathlib import Path

import pytest

from mosic.audio.probe import probe
from tests.audio.pools import needs_proc, pool, workers_of
from tests.audio.test_probe_tags import riff
from tests.support.programs import needs_ffmpeg
from tests.support.sounds import ffmpeg, wav

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
    pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="needs x86_64 or aarch64"),
]

# Each attempt says what came of it. That each succeeds without `confine` shows that they can.
ATTEMPTS = """
import ctypes, json, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
folder, parent = sys.argv[2], int(sys.argv[3])
listening = socket.socket(); listening.bind(("127.0.0.1", 0)); listening.listen()
local = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
attempts = {
    "read a file": lambda: open(folder + "/secret").read(),
    "list a folder": lambda: os.listdir(folder),
    "write a file": lambda: open(folder + "/new", "w").write("x"),
    "remove a file": lambda: os.remove(folder + "/gone"),
    "connect": lambda: socket.create_connection(listening.getsockname(), 2),
    "send a datagram": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
    "fork": lambda: os.fork() or os._exit(0),
    "signal another": lambda: os.kill(parent, 0),
    "share memory": lambda: os.memfd_create("x"),
    "look at another": lambda: [] if libc.ptrace(16, parent, 0, 0) == 0 else os.stat("/none"),
}
if sys.argv[1] == "confined":
    sys.path[:] = sys.argv[4:]
    from mosic.audio.confine import confine
    json.dumps(1)
    missing = confine(1 << 30)
    assert os.geteuid() != 0
else:
    missing = []
    del attempts["look at another"]
done = []
for name, attempt in attempts.items():
    try:
        attempt()
        done.append(name)
    except Exception:
        pass
print(json.dumps({"missing": missing, "done": done, "of": len(attempts)}), flush=True)
os._exit(0)
"""


def attempt(folder: Path, how: str) -> dict[str, object]:
    (folder / "secret").write_text("secret")
    (folder / "gone").touch()
    folder.chmod(0o777)
    ran = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, how, str(folder), str(os.getpid()), *filter(None, sys.path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, object] = json.loads(ran.stdout.splitlines()[0])
    return found


def test_nothing_but_what_is_open_can_be_reached(tmp_path: Path) -> None:
    free = attempt(tmp_path, "free")
    assert len(free["done"]) == free["of"]  # type: ignore[arg-type]
    assert attempt(tmp_path, "confined") == {"missing": [], "done": [], "of": 10}


@needs_proc
async def test_processes_of_the_pool_are_confined(song: Path) -> None:
    async with pool(workers=2) as probes:
        assert probes.missing == ()
        pids = workers_of(os.getpid())
        assert len(pids) == 2
        for pid in pids:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            status = dict(line.split(":", 1) for line in lines)
            assert (status["Seccomp"].strip(), status["NoNewPrivs"].strip()) == ("2", "1")
            assert int(status["CapEff"], 16) == 0
            assert "0" not in status["Uid"].split() + status["Gid"].split() + status["Groups"].split()
        assert (await probes.probe(song)).title == "Song"


async def test_a_file_that_only_the_service_can_open(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    path = folder / "a.wav"
    path.write_bytes(wav(0.5))
    path.chmod(0o600)
    async with pool() as probes:
        assert (await probes.probe(path)).duration == pytest.approx(0.5)


@needs_ffmpeg
async def test_every_format_is_read_without_opening_anything(tmp_path: Path) -> None:
    """What is imported or decoded late would be out of reach, and a tag be lost without a word."""
    words = ("-metadata", "title=Ünï 東京", "-metadata", "artist=Ä", "-metadata", "date=2019-03-01")
    source = ("-f", "lavfi", "-i", "sine=duration=0.5", *words)
    endings = "mp3 m4a mov ogg opus flac wav w64 mka webm aiff wma ac3 wv aac caf au tta"
    for ending in endings.split(" "):
        ffmpeg(*source, tmp_path / f"a.{ending}")
    for number in range(3):
        (tmp_path / f"latin{number}.mp3").write_bytes(
            b"ID3\x03\0\0\0\0\0\x13TIT2\0\0\0\x09\0\0"
            + (b"\0D\x92t \x93x\x94 ", b"\1\xff\xfeA\0b\0c\0", b"\1\xfe\xff\0A\0b\0c")[number]
            + (tmp_path / "a.mp3").read_bytes()
        )
    async with pool(workers=2) as probes:
        for path in sorted(tmp_path.iterdir()):
            try:
                expected = probe(path)
            except Exception as error:
                with pytest.raises(type(error)):
                    await probes.probe(path)
            else:
                assert await probes.probe(path) == expected, path.name


async def test_words_in_every_encoding_are_read_without_opening_anything(tmp_path: Path) -> None:
    """Python finds an encoding when it is first asked for, in a file; and a stranger may name any."""
    for name in {*aliases.values(), "unheard-of"}:
        try:
            words = "Ünï 東京".encode(name, "ignore")
        except LookupError:  # of another system, or not for texts
            words = b"Uni"
        document = b'<?xml version="1.0" encoding="%s"?><BWFXML><NOTE>%s</NOTE></BWFXML>'
        (tmp_path / f"{name}.wav").write_bytes(riff((b"iXML", document % (name.encode(), words))))
        # A frame that says UTF-16 and may be in either order, or in none.
        text = b"\2" + words
        frame = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text
        head = b"ID3\x03\0\0\0\0" + bytes((len(frame) >> 7, len(frame) & 127))
        (tmp_path / f"{name}.id3.wav").write_bytes(riff((b"id3 ", head + frame)))
    async with pool(workers=2) as probes:
        for path in sorted(tmp_path.iterdir()):
            assert await probes.probe(path) == probe(path), path.name
