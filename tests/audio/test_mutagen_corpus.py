"""The files that mutagen tests itself with: a hundred oddities, collected from years of bug reports.

They come with its source distribution, which pip fetches once into pytest's cache folder.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mosic.audio.isolation import ProbePool
from mosic.background import Background
from mosic.errors import UnreadableMedia, UnsupportedMedia

pytestmark = pytest.mark.slow

# Not sound, by name: tags without a file, a picture, notes, headers that were cut from a file, versions that
# nothing reads any more.
UNSUPPORTED = {
    "145-invalid-item-count.apev2", "bad-POPM-frame.mp3", "brokentag.apev2", "emptyfile.mp3", "64bit.mp4",
    "id3v23_unsynch.id3", "image.jpg", "oldtag.apev2", "sample.mid", "sample.oggtheora",
    "sample_bitrate.oggtheora", "sv4_header.mpc", "sv5_header.mpc",
}  # fmt: skip
UNREADABLE = {"106-invalid-streaminfo.flac", "almostempty.mpc", "id3v24_extended_header.id3"}
# Their headers promise minutes or days that the file does not hold.
NO_DURATION = {
    "2822400-1ch-0s-silence.dff", "2822400-1ch-0s-silence.dsf", "with-id3.dsf", "without-id3.dsf",
    "5644800-2ch-s01-silence-dst.dff", "52-overwritten-metadata.flac", "flac_application.flac",
    "ooming-header.flac", "issue_29.wma", "lame397v9short.mp3", "nero-chapters.m4b", "truncated-64bit.mp4",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(request: pytest.FixtureRequest) -> list[Path]:
    version = importlib.metadata.version("mutagen")
    folder = request.config.cache.mkdir(f"mutagen-{version}")
    if not list(folder.glob("*.tar.gz")):
        fetched = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"),
                *("--dest", folder, f"mutagen=={version}"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode:
            pytest.skip(f"needs the source distribution of mutagen: {fetched.stderr[-200:]}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    found = sorted(path for path in folder.glob("*/tests/data/*") if path.is_file())
    assert len(found) > 90
    return found


async def test_each_is_judged_rightly_and_soon(corpus: list[Path]) -> None:
    unsupported, unreadable, no_duration = set(), set(), set()
    probes = ProbePool(1, 5, 256, background=Background())
    await probes.start()
    for path in corpus:
        try:
            found = await probes.probe(path)
        except UnsupportedMedia:
            unsupported.add(path.name)
        except UnreadableMedia:
            unreadable.add(path.name)
        else:
            if found.duration is None:
                no_duration.add(path.name)
            else:
                assert 0 < found.duration < 60, path.name
            assert found.media_type.startswith("audio/")
    await probes.close()
    assert unsupported == UNSUPPORTED
    assert unreadable == UNREADABLE
    assert no_duration == NO_DURATION
