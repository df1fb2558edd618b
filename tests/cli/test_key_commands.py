"""`mosic key`: keys come, are listed and go, by the file that a service reads."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from mosic.cli.main import app
from mosic.wire.apikeys import parse_key_file

FILE = b"""# of the house\r
phone: key-of-the-phone-1
  # indented

radio:key-of-the-radio-1\r
phone :key-of-the-phone-2"""


@pytest.fixture(autouse=True)
def _somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def key(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        app(["key", *arguments], prog_name="mosic")
    return end.value.code if isinstance(end.value.code, int) else 0


def test_a_new_key_goes_to_the_output_and_where_it_belongs_to_the_person(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert key("new", "phone") == 0
    out, err = capsys.readouterr()
    ((name, api_key),) = [(one.name, one.api_key) for one in parse_key_file(out.encode())]
    assert (name, out.count("\n")) == ("phone", 1)
    assert "MOSIC_API_KEYS_FILE, and restart the service once" in err
    assert api_key not in err
    # The one that the service made is valid no longer once there is a file.
    Path(".mosic").mkdir()
    Path(".mosic/api_key").write_text("made-by-the-service\n")
    assert key("new", "phone") == 0
    assert (
        f"the key in {Path('.mosic/api_key').absolute()} is then no longer valid" in capsys.readouterr().err
    )

    Path(".env").write_text("MOSIC_API_KEYS_FILE=keys\n")
    assert key("new", "phone") == 0
    assert capsys.readouterr().err.startswith(f"mosic: append this line to {Path('keys').absolute()} ")
    assert not Path("keys").exists()
    assert key("new", "phone", "--add") == 0
    out, err = capsys.readouterr()
    assert Path("keys").read_text() == out
    assert "reads the file again within seconds" in err
    assert stat.S_IMODE(Path("keys").stat().st_mode) == 0o600
    assert key("new", "two words") == 2

    monkeypatch.setenv("MOSIC_APP_PORT", "none")
    assert key("new", "phone") == 0
    assert len(parse_key_file(capsys.readouterr().out.encode())) == 1


def test_names_are_listed_and_never_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert key("list") == 0
    assert capsys.readouterr() == (
        "",
        "mosic: there is no key yet; the first start of the service makes one\n",
    )
    assert not Path(".mosic").exists()
    Path("keys").write_bytes(FILE)
    monkeypatch.setenv("MOSIC_API_KEYS_FILE", "keys")
    monkeypatch.setenv("MOSIC_API_KEY", "key-of-everybody-1,key-of-everybody-2")
    monkeypatch.setenv("MOSIC_API_KEYS", "tv:key-of-the-tv")
    assert key("list") == 0
    out, _ = capsys.readouterr()
    file = Path("keys").absolute()
    assert [line.split() for line in out.splitlines()] == [
        ["default", "MOSIC_API_KEY", "(2", "keys)"],
        ["tv", "MOSIC_API_KEYS"],
        ["phone", str(file), "(2", "keys)"],
        ["radio", str(file)],
    ]
    assert "key-of" not in out
    assert key("list", "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1]) == {"name": "radio", "source": str(file), "keys": 1}


def test_a_key_is_revoked_and_the_rest_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("kept").mkdir()
    Path("kept/keys").write_bytes(FILE)
    Path("kept/keys").chmod(0o640)
    Path("keys").symlink_to("kept/keys")
    if os.geteuid() == 0:
        os.chown("kept/keys", 12345, 54321)
    before = Path("keys").stat()
    monkeypatch.setenv("MOSIC_API_KEYS_FILE", "keys")
    assert key("revoke", "phone") == 0
    assert "phone is revoked: 2 lines removed from" in capsys.readouterr().out
    assert Path("keys").read_bytes() == b"# of the house\r\n  # indented\n\nradio:key-of-the-radio-1\r\n"
    after = Path("keys").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert Path("keys").is_symlink()
    assert os.listdir("kept") == ["keys"]

    # A file without keys would not be taken, and the key stay valid.
    assert key("revoke", "radio") == 1
    assert "Add another key first" in capsys.readouterr().err
    assert key("new", "tv", "--add") == 0
    assert key("revoke", "radio") == 0
    assert key("revoke", "radio") == 1
    assert "there is no key named radio" in capsys.readouterr().err
    assert [one.name for one in parse_key_file(Path("keys").read_bytes())] == ["tv"]


def test_what_is_set_elsewhere_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOSIC_API_KEYS", "tv:key-of-the-tv")
    assert key("revoke", "tv") == 1
    assert capsys.readouterr().err == (
        "mosic: tv is set in MOSIC_API_KEYS: remove it from MOSIC_API_KEYS, and restart the service\n"
    )
    Path("keys").write_text("tv:another-key-of-the-tv\nno key\n")
    monkeypatch.setenv("MOSIC_API_KEYS_FILE", "keys")
    assert key("revoke", "tv") == 1
    assert "line 2 is not of the form name:key" in capsys.readouterr().err
    assert Path("keys").read_text() == "tv:another-key-of-the-tv\nno key\n"
