"""A misspelled setting has no effect, and that is said; what others set under such names is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosic.errors import StartupError
from mosic.settings import Settings, read_settings


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("MOSIC_REQUIRE_KEY_FOR_READ", "MOSIC_REQUIRE_KEY_FOR_READS"),
        ("MOSIC_REQUIRE_KEYS_FOR_READS", "MOSIC_REQUIRE_KEY_FOR_READS"),
        ("MOSIC_UPLOAD_MAX_MB", "MOSIC_MAX_UPLOAD_MB"),
        ("MOSIC_APIKEY", "MOSIC_API_KEY"),
        ("MOSIC_DATABSE_URL", "MOSIC_DATABASE_URL"),
        ("MOSIC_DB_PASS", "MOSIC_DB_PASSWORD"),
        ("MOSIC_URL_SECERT_FILE", "MOSIC_URL_SECRET_FILE"),
        ("MOSIC_FORWARDED_ALLOW_IP", "MOSIC_FORWARDED_ALLOW_IPS"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_an_unknown_name_is_said_with_the_one_that_was_meant(
    written: str, meant: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "file":
        Path(".env").write_text(f"{written}=s3cret-value\n")
        Path(".env").chmod(0o600)
    else:
        monkeypatch.setenv(written, "s3cret-value")
    (notice,) = read_settings().notices
    assert written in notice
    assert notice.endswith(f"did you mean {meant}?")
    assert "s3cret-value" not in notice
    assert (str(Path(".env").absolute()) in notice) == (place == "file")


def test_an_unknown_name_that_is_like_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_COLOUR_OF_THE_SKY", "blue")
    (notice,) = read_settings().notices
    assert "MOSIC_COLOUR_OF_THE_SKY is not a setting" in notice
    assert "did you mean" not in notice


def test_every_setting_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("".join(f"MOSIC_{name.upper()}=\n" for name in Settings.model_fields))
    assert read_settings().notices == ()
    monkeypatch.setenv("mosic_app_port", "4711")
    assert read_settings().settings.app_port == 4711


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("MOSIC_PORT", "4711", "app_port"),
        ("MOSIC_DATABASE_URL", "postgresql://u:p@h/d", "database_url_override"),
    ],
)
def test_spellings_that_people_expect(
    name: str, value: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    reading = read_settings()
    assert (reading.values[field].text, reading.notices) == (value, ())
    assert getattr(reading.settings, field) != getattr(Settings(), field)


def test_two_spellings_of_one_setting_agree_or_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_PORT", "4711")
    monkeypatch.setenv("MOSIC_APP_PORT", "4711")
    assert read_settings().settings.app_port == 4711
    monkeypatch.setenv("MOSIC_APP_PORT", "4712")
    with pytest.raises(StartupError, match=r"MOSIC_\w+ and MOSIC_\w+ are both set, and differ"):
        read_settings()


def test_the_environment_wins_over_the_file_however_it_is_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MOSIC_APP_PORT=1111\n")
    monkeypatch.setenv("MOSIC_PORT", "2222")
    assert read_settings().settings.app_port == 2222


def test_a_wrong_value_is_named_as_it_was_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_PORT", "http")
    with pytest.raises(StartupError, match=r"\n  MOSIC_PORT: "):
        read_settings()
    monkeypatch.delenv("MOSIC_PORT")
    Path(".env").write_text("MOSIC_PORT=70000\n")
    with pytest.raises(StartupError, match=r"\n  MOSIC_PORT in /.*/\.env: "):
        read_settings()


# As the kubelet sets them for Services named mosic, mosic-app, mosic-db and mosic-postgres-rw
# (kubernetes.io/docs/tutorials/services/connect-applications-service).
KUBERNETES = {
    "MOSIC_SERVICE_HOST": "10.0.162.149",
    "MOSIC_SERVICE_PORT": "8000",
    "MOSIC_SERVICE_PORT_HTTP": "8000",
    "MOSIC_PORT": "tcp://10.0.162.149:8000",
    "MOSIC_PORT_8000_TCP": "tcp://10.0.162.149:8000",
    "MOSIC_PORT_8000_TCP_PROTO": "tcp",
    "MOSIC_PORT_8000_TCP_PORT": "8000",
    "MOSIC_PORT_8000_TCP_ADDR": "10.0.162.149",
    "MOSIC_APP_PORT": "tcp://10.0.162.150:80",
    "MOSIC_APP_SERVICE_HOST": "10.0.162.150",
    "MOSIC_DB_PORT": "tcp://[fd00::1]:5432",
    "MOSIC_DB_SERVICE_HOST": "fd00::1",
    "MOSIC_POSTGRES_RW_PORT": "udp://10.0.162.151:5432",
    "MOSIC_POSTGRES_RW_SERVICE_PORT_TCP_POSTGRESQL": "5432",
}


def test_what_kubernetes_and_the_tests_set_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MOSIC_TEST_SLOW", "1")
    monkeypatch.setenv("MOSIC_TEST_REQUIRE_PROGRAMS", "1")
    reading = read_settings()
    assert (reading.settings, reading.notices) == (Settings(), ())


def test_a_port_that_is_only_like_those_of_kubernetes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_PORT", "tcp:8000")
    with pytest.raises(StartupError, match="MOSIC_PORT: "):
        read_settings()
