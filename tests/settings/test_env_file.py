"""A `.env` is understood or refused by name, never half of it: it may close what is open without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mosic.errors import StartupError
from mosic.settings import Settings, read_settings

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another account")


def write(content: bytes, mode: int = 0o600) -> Path:
    file = Path(".env").absolute()
    file.write_bytes(content)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MOSIC_APP_PORT: 9000\n", r"MOSIC_APP_PORT in .*/\.env, line 1: write NAME=value, with = instead"),
        (b"# c\n\n\nMOSIC_API_KEY: s3cret\n", r"MOSIC_API_KEY in .*/\.env, line 4: "),
        (b'export MOSIC_API_KEY : "s3cret=x"\n', r"MOSIC_API_KEY in .*/\.env, line 1: "),
        (b"A=1\nMOSIC_DB_PASSWORD='s3cret\n", r"MOSIC_DB_PASSWORD in .*/\.env, line 2: .*quote"),
        (b"MOSIC_REQUIRE_KEY_FOR_READS true s3cret\n", r"MOSIC_REQUIRE_KEY_FOR_READS in .*, line 1: "),
        (b"MOSIC_DB_PASSWORD=s3cret-\xe4\n", r"MOSIC_DB_PASSWORD in .*/\.env is not UTF-8"),
        ("MOSIC_API_KEY=s3cret\n".encode("utf-16"), r"/\.env is not UTF-8"),
        (b"MOSIC_APP_PORT=http\n", r"MOSIC_APP_PORT in .*/\.env: "),
        (b"MOSIC_REQUIRE_KEY_FOR_READS=ture\n", r"MOSIC_REQUIRE_KEY_FOR_READS in .*/\.env: "),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(content: bytes, message: str) -> None:
    write(content)
    with pytest.raises(StartupError, match=message) as raised:
        read_settings()
    assert "s3cret" not in str(raised.value)


def test_what_is_no_matter_of_ours_does_no_harm() -> None:
    file = write(
        "\ufeffMOSIC_APP_PORT=4711 # here\n".encode()
        + b"# gr\xfc\xdfe\nOTHER=gr\xfc\xdfe\nexport MOSIC_LOG_LEVEL='debug'\nwhat: is this\n"
    )
    reading = read_settings()
    assert (reading.settings.app_port, reading.settings.log_level) == (4711, "debug")
    assert reading.notices == (f"line 5 of {file} is not of the form NAME=value and was ignored",)
    assert reading.values["app_port"].file == file


def test_none_and_an_empty_one_change_nothing() -> None:
    assert read_settings().settings == Settings()
    write(b"")
    assert read_settings().settings == Settings()


def test_one_that_is_there_and_cannot_be_read_is_not_passed_over(folder: Path) -> None:
    Path(".env").symlink_to("nowhere")
    with pytest.raises(
        StartupError, match=r"/\.env cannot be read: it is a link to a file that does not exist"
    ):
        read_settings()
    Path(".env").unlink()
    # What Docker makes of a file that is to be mounted and is not there.
    Path(".env").mkdir()
    with pytest.raises(StartupError, match=r"/\.env cannot be read: Is a directory"):
        read_settings()


@needs_root
def test_one_of_another_account_cannot_be_read(open_folder: Path) -> None:
    (open_folder / ".env").write_text("MOSIC_REQUIRE_KEY_FOR_READS=true\n")
    (open_folder / ".env").chmod(0o600)
    program = (
        "import os, mosic.settings as s\nos.setuid(65534)\n"
        "try:\n s.read_settings()\nexcept s.StartupError as error:\n print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=open_folder, capture_output=True, text=True, check=True
    )
    assert said.stdout == f"{open_folder}/.env cannot be read: Permission denied.\n"


def test_programs_to_start_are_said() -> None:
    file = write(b"MOSIC_POSTGRES_BIN=/opt/pg/bin\n")
    reading = read_settings()
    assert str(reading.settings.postgres_bin) == "/opt/pg/bin"
    assert reading.notices == (
        f"MOSIC_POSTGRES_BIN in {file}: Mosic starts the programs that are in /opt/pg/bin",
    )


def test_programs_to_start_are_not_taken_from_what_others_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    write(b"MOSIC_POSTGRES_BIN=/opt/pg/bin\n", 0o666)
    with pytest.raises(StartupError, match=r"MOSIC_POSTGRES_BIN in .*\.env names programs .* every account"):
        read_settings()
    # Other settings are taken, and it is said who may change them.
    file = write(b"MOSIC_DB_HOST=db.example\n", 0o666)
    (notice,) = read_settings().notices
    assert notice.startswith(f"{file} can be written by every account")


@needs_root
def test_files_of_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(b"MOSIC_POSTGRES_BIN=/opt/pg/bin\n")
    os.chown(file, 65534, 65534)
    with pytest.raises(StartupError, match=r"MOSIC_POSTGRES_BIN .* belongs to the account"):
        read_settings()
    # The person who called sudo.
    monkeypatch.setenv("SUDO_UID", "65534")
    assert str(read_settings().settings.postgres_bin) == "/opt/pg/bin"


def test_home_and_relative_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    write(b"MOSIC_MEDIA_ROOT=~/media\nMOSIC_DATA_DIR=below/here\nMOSIC_API_KEYS_FILE=~/keys\n")
    settings = read_settings().settings
    assert str(settings.media_root) == "/home/anna/media"
    assert settings.data_dir == folder / "below/here"
    assert str(settings.api_keys_file) == "/home/anna/keys"
    assert Settings().media_root == folder / "media"
    write(b"MOSIC_MEDIA_ROOT=~no-such-account/media\n")
    with pytest.raises(StartupError, match=r"MOSIC_MEDIA_ROOT in .*: ~no-such-account/media is below"):
        read_settings()
