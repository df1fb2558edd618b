"""Settings: names people know, and clear words about wrong values."""

from __future__ import annotations

import pytest

from mosic.errors import StartupError
from mosic.settings import load_settings


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))


def test_names_of_earlier_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MOSIC_DB_HOST": "db.example",
        "MOSIC_DB_PORT": "6543",
        "MOSIC_DB_NAME": "music",
        "MOSIC_DB_USER": "me",
        "MOSIC_DB_PASSWORD": "p@ss:w/rd",
        "MOSIC_API_KEY": "k1, k2",
        "MOSIC_MEDIA_ROOT": "/srv/media",
        "MOSIC_MAX_UPLOAD_MB": "7",
        "MOSIC_ECHO_SQL": "true",
        "MOSIC_APP_PORT": "9000",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    url = settings.external_database
    assert url is not None
    assert (url.host, url.port, url.database, url.username, url.password) == (
        *("db.example", 6543, "music", "me", "p@ss:w/rd"),
    )
    assert [key.api_key for key in settings.given_keys] == ["k1", "k2"]
    assert str(settings.media_root) == "/srv/media"
    assert settings.max_upload_bytes == 7 * 2**20
    assert (settings.echo_sql, settings.app_port) == (True, 9000)


def test_url_wins_over_parts_and_any_driver_word_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_DB_HOST", "ignored.example")
    for scheme in ("postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg2"):
        monkeypatch.setenv("MOSIC_DATABASE_URL_OVERRIDE", f"{scheme}://u:p@h/d")
        url = load_settings().external_database
        assert url is not None
        assert (url.drivername, url.host) == ("postgresql+asyncpg", "h")


def test_without_any_database_setting_there_is_none() -> None:
    assert load_settings().external_database is None


def test_env_file_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(".env", "w") as file:
        file.write("MOSIC_APP_PORT=1111\nMOSIC_LOG_LEVEL=DEBUG\nSOMETHING_ELSE=1\n")
    settings = load_settings()
    assert (settings.app_port, settings.log_level) == (1111, "debug")
    monkeypatch.setenv("MOSIC_APP_PORT", "2222")
    assert load_settings().app_port == 2222
    assert load_settings(app_port=3333, host=None).app_port == 3333


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_PORT", "70000"),
        ("API_KEY", "two words"),
        ("API_KEY", "one,,two"),
        ("API_KEYS", "no-name"),
        ("API_KEYS", "phone:k1,"),
        ("API_KEYS", "phone:k1,radio:k1"),
        ("URL_SECRET", "short"),
        ("URL_TTL_SECONDS", "0"),
        ("ALIAS_PREFIXES", "clips"),
        ("ALIAS_PREFIXES", "/play"),
        ("PUBLIC_URL", "music.example"),
        ("DATABASE_URL_OVERRIDE", "nonsense"),
        ("LOG_LEVEL", "loud"),
        ("DB_POOL_SIZE", "0"),
    ],
)
def test_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MOSIC_{name}", value)
    with pytest.raises(StartupError, match=f"MOSIC_{name}: "):
        load_settings()


def test_secrets_are_not_shown() -> None:
    settings = load_settings(
        api_key="s3cret", db_password="s3cret", database_url_override="postgres://u:s3cret@h/d"
    )
    assert "s3cret" not in repr(settings)


def test_a_wrong_secret_is_not_shown() -> None:
    for name in ("api_key", "api_keys", "url_secret"):
        with pytest.raises(StartupError) as raised:
            load_settings(**{name: "a s3cret"})
        assert "s3cret" not in str(raised.value)


def test_keys_have_names() -> None:
    settings = load_settings(api_key="k1,k2", api_keys="phone:k3, radio:k:4")
    assert [(key.name, key.api_key) for key in settings.given_keys] == [
        ("default", "k1"),
        ("default", "k2"),
        ("phone", "k3"),
        ("radio", "k:4"),
    ]
    assert not settings.makes_key
    assert load_settings().makes_key
