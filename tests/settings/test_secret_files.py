"""Every secret can come from a file, as container platforms hand them over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from mosic.errors import StartupError
from mosic.settings import Settings, read_settings
from mosic.settings.names import names_of


def fitting(field: str) -> str:
    """A value that the setting takes."""
    if "url" in field and "secret" not in field:
        return "postgresql://u:p@h/d"
    return " p@ss word " if "password" in field else "0123456789abcdef0123456789abcdef"


NAMES = names_of(Settings.model_fields)
FROM_FILE = {name: (meant.field, fitting(meant.field)) for name, meant in NAMES.items() if meant.from_file}


def value_of(settings: Settings, field: str) -> str:
    value = getattr(settings, field)
    assert isinstance(value, SecretStr)
    return value.get_secret_value()


def private(name: str, content: bytes) -> Path:
    file = Path(name)
    file.write_bytes(content)
    file.chmod(0o600)
    return file


def test_each_secret_has_one() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    # MOSIC_API_KEYS_FILE has lines with names in it, and is read again when it changes.
    assert {f"MOSIC_{field.upper()}_FILE" for field in secret - {"api_keys"}} <= FROM_FILE.keys()
    assert {"MOSIC_DATABASE_URL_FILE", "MOSIC_API_KEY_FILE"} <= FROM_FILE.keys()


@pytest.mark.parametrize("name", FROM_FILE)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_from_a_file_without_the_newline_at_its_end(
    name: str, end: bytes, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, secret = FROM_FILE[name]
    file = private("secret", secret.encode() + end)
    if place == "file":
        private(".env", f"{name}={file.absolute()}\n".encode())
    else:
        monkeypatch.setenv(name, str(file))
    reading = read_settings()
    assert value_of(reading.settings, field) == secret
    assert reading.notices == ()


def test_the_file_of_several_keys_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    private("keys", b"phone:k1\nradio:k2\n")
    monkeypatch.setenv("MOSIC_API_KEYS_FILE", "keys")
    settings = read_settings().settings
    assert settings.api_keys_file == Path("keys").absolute()
    assert settings.api_keys is None


def test_the_file_and_the_value_are_one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    private("secret", b"another-key\n")
    monkeypatch.setenv("MOSIC_API_KEY_FILE", "secret")
    monkeypatch.setenv("MOSIC_API_KEY", "a-key")
    with pytest.raises(StartupError, match="both set, and differ") as raised:
        read_settings()
    assert "a-key" not in str(raised.value)
    assert "another-key" not in str(raised.value)
    monkeypatch.delenv("MOSIC_API_KEY")
    # The environment wins over the file, whichever way it has the secret.
    private(".env", b"MOSIC_API_KEY=of-the-file\n")
    assert value_of(read_settings().settings, "api_key") == "another-key"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"k\xe4y", "is not UTF-8"),
    ],
)
def test_a_file_that_is_no_use_is_refused_by_name(
    content: bytes | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        private("secret", content)
    monkeypatch.setenv("MOSIC_DB_PASSWORD_FILE", "secret")
    with pytest.raises(StartupError, match=f"MOSIC_DB_PASSWORD_FILE: secret {why}"):
        read_settings()


def test_a_pipe_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo("secret")
    monkeypatch.setenv("MOSIC_URL_SECRET_FILE", "secret")
    with pytest.raises(StartupError, match="MOSIC_URL_SECRET_FILE: secret is not a file"):
        read_settings()


def test_a_wrong_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    private("secret", b"two words")
    monkeypatch.setenv("MOSIC_API_KEY_FILE", "secret")
    with pytest.raises(StartupError, match=r"MOSIC_API_KEY_FILE: ") as raised:
        read_settings()
    assert "two words" not in str(raised.value)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_secret_that_others_can_read_is_warned_of(
    mode: int, warned: bool, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_folder / "secret"
    file.write_text("a-key-of-two-dozen-letters\n")
    file.chmod(mode)
    monkeypatch.setenv("MOSIC_API_KEY_FILE", str(file))
    notices = read_settings().notices
    assert [str(file) in notice and "MOSIC_API_KEY_FILE" in notice for notice in notices] == [True] * warned
    # Where nobody else gets to the file, its own mode does not matter.
    open_folder.chmod(0o700)
    assert read_settings().notices == ()


@pytest.mark.parametrize(
    ("text", "warned"), [("MOSIC_DB_PASSWORD=secret\n", True), ("MOSIC_DB_HOST=db.example\n", False)]
)
def test_a_file_of_settings_with_a_secret_that_others_can_read(
    text: str, warned: bool, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(open_folder)
    Path(".env").write_text(text)
    Path(".env").chmod(0o644)
    assert ["MOSIC_DB_PASSWORD: every account" in notice for notice in read_settings().notices] == [
        True
    ] * warned
