"""Connection strings as providers, consoles and secrets give them."""

from __future__ import annotations

from typing import Any

import pytest

from mosic.errors import StartupError
from mosic.settings import Settings, load_settings
from mosic.settings.database_url import parse_database_url

SECRET = "s3cr3t"


def parts(text: str) -> dict[str, Any]:
    url = parse_database_url(text)
    return {
        "user": url.username,
        "password": str(url.password) if url.password else None,
        "host": url.host,
        "port": url.port,
        "database": url.database,
        **url.query,
    }


PLAIN = {"user": "u", "password": "p", "host": "h", "port": 5432, "database": "d"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@h/d", {}),
        ("postgres://u:p@h:5432/d", {}),
        ("POSTGRES://u:p@h/d", {}),
        ("postgresql+asyncpg://u:p@h/d", {}),
        ("postgresql+psycopg2://u:p@h/d", {}),
        ("  postgresql://u:p@h/d\r\n", {}),
        ("postgresql://u:p@h/d\n", {}),
        ('"postgresql://u:p@h/d"', {}),
        ("'postgresql://u:p@h/d'\n", {}),
        ("psql 'postgresql://u:p@h/d'", {}),
        ('psql "postgres://u:p@h/d?sslmode=require"\n', {"sslmode": "require"}),
        ("psql postgresql://u:p@h/d", {}),
        ("DATABASE_URL=postgresql://u:p@h/d", {}),
        ('export DATABASE_URL="postgresql://u:p@h/d"', {}),
        ("\ufeffpostgresql://u:p@h/d\r\n", {}),
        ("jdbc:postgresql://h:5432/d?user=u&password=p&ssl=true", {"sslmode": "require"}),
        ("pgsql://u:p@h/d", {}),
        ("host=h port=5432 user=u password=p dbname=d", {}),
        ("host = h  user=u password='p' dbname=d\n", {}),
        ("host=h user=u password='a \\'b\\\\' dbname=d", {"password": "a 'b\\"}),
        ("postgresql:///d?host=h&user=u&password=p&port=5432", {}),
        ("postgresql://u:p@ss@h/d", {"password": "p@ss"}),
        ("postgresql://u:p%40ss@h/d", {"password": "p@ss"}),
        ("postgresql://u:@@h/d", {"password": "@"}),
        ("postgresql://u:a/b?c#d@h/d", {"password": "a/b?c#d"}),
        ("postgresql://u:a?b@h/d?sslmode=require", {"password": "a?b", "sslmode": "require"}),
        ("postgresql://u:a:b@h/d", {"password": "a:b"}),
        ("postgresql://u:50%off+1@h/d", {"password": "50%off+1"}),
        ("postgresql://u:p@h:6543/d", {"port": 6543}),
        ("postgresql://u:p@[2001:db8::1]:6543/d", {"host": "2001:db8::1", "port": 6543}),
        ("postgresql://u:p@h/a%20b%2Fc", {"database": "a b/c"}),
        ("postgresql://u:p@h/d?", {}),
        ("postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=/c/a.crt",
         {"sslmode": "verify-full", "sslrootcert": "/c/a.crt"}),
        ("postgresql://u:p@h/d?sslrootcert=system", {"sslrootcert": "system", "sslmode": "verify-full"}),
        ("postgresql://u:p@h/d?ssl=true", {"sslmode": "require"}),
        ("postgresql://u:p@h/d?channel_binding=prefer", {"channel_binding": "prefer"}),
        ("postgresql://u:p@h/d?application_name=a%20b", {"application_name": "a b"}),
        ("postgresql://u:p@h/d?options=-c%20search_path%3Dx", {"options": "-c search_path=x"}),
        ("postgresql://u:p@h/d?options=-c+search_path=x", {"options": "-c search_path=x"}),
        ("postgresql://u:p@h/d?options=endpoint%3Dep-1", {"options": "endpoint=ep-1"}),
        ("postgresql://u:p@h/d?connect_timeout=10", {"connect_timeout": "10"}),
        ("postgresql://u:p@h/d?target_session_attrs=read-write", {"target_session_attrs": "read-write"}),
        ("postgresql://u:p@h/d?pgbouncer=true", {"pgbouncer": "true"}),
        ("postgresql://u:p@h/d?statement_cache_size=0", {"statement_cache_size": "0"}),
        ("postgresql://u:p@h/d?keepalives=1&keepalives_idle=30&tcp_user_timeout=5000",
         {"keepalives": "1", "keepalives_idle": "30", "tcp_user_timeout": "5000"}),
        ("postgresql://u:p@a:1,b:2/d", {"host": "a,b", "port": "1,2"}),
        ("postgresql://u:p@a,b:2/d", {"host": "a,b", "port": "5432,2"}),
        ("postgresql://u:p@/d?host=a,b&port=7", {"host": "a,b", "port": "7,7"}),
        ("postgresql://u:p@/d?host=/run/pg", {"host": "/run/pg", "port": "5432"}),
        ("postgresql://u:p@%2Frun%2Fpg/d", {"host": "/run/pg", "port": "5432"}),
    ],
)  # fmt: skip
def test_it_is_understood(text: str, expected: dict[str, Any]) -> None:
    found = parts(text)
    wanted = PLAIN | expected
    if "," in str(wanted["host"]) or str(wanted["host"]).startswith("/"):
        wanted = {"port": "5432"} | wanted
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("mysql://u:s3cr3t@h/d", "mysql"),
        ("jdbc:mysql://h/d?password=s3cr3t", "mysql"),
        ("psql -h h -U u", "URL"),
        ("host=h;password=s3cr3t;database=d", ";"),
        ("Host=h;Password=s3cr3t;Database=d", "URL"),
        ("postgresql://u:s3cr3t@h;port=1/d", "host"),
        ("u:s3cr3t@h", "URL"),
        ("", "URL"),
        ("postgresql://u:s3cr3t", "port"),
        ("postgresql://u:x:s3cr3t", "host"),
        ("postgresql://u:s3cr3t@h:port/d", "port"),
        ("postgresql://u:s3cr3t@h:99999/d", "port"),
        ("postgresql://u:s3cr3t@/d?host=a,b&port=1,2,3", "port"),
        ("postgresql://u:s3cr3t@h/d?sslmode=no-verify", "sslmode"),
        ("postgresql://u:s3cr3t@h/d?sslmode=require&sslrootcert=system", "sslmode"),
        ("postgresql://u:s3cr3t@h/d?channel_binding=require", "channel_binding"),
        ("postgresql://u:s3cr3t@h/d?connect_timeout=soon", "connect_timeout"),
        ("postgresql://u:s3cr3t@h/d?target_session_attrs=standby", "target_session_attrs"),
        ("postgresql://u:s3cr3t@h/d?target_session_attrs=master", "target_session_attrs"),
        ("postgresql://u:s3cr3t@h/d?pgbouncer=perhaps", "pgbouncer"),
        ("postgresql://u:s3cr3t@h/d?statement_cache_size=-1", "statement_cache_size"),
        ("postgresql://u:s3cr3t@h/d?gssencmode=require", "gssencmode"),
        ("postgresql://u:s3cr3t@h/d?schema=public", "schema"),
        ("postgresql://u:s3cr3t@h/d?connection_limit=5", "connection_limit"),
        ("postgresql://u:s3cr3t@h/d?sslmod=require", "sslmod"),
        ("postgresql://u:s3cr3t@h/d?sslmode", "sslmode"),
        ("host=h sslmod=require password=s3cr3t", "sslmod"),
    ],
)
def test_what_does_not_work_is_named_in_one_sentence(
    text: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=named) as raised:
        parse_database_url(text)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    if text:
        monkeypatch.setenv("MOSIC_DATABASE_DIRECT_URL", text)
        with pytest.raises(StartupError, match=named) as refused:
            load_settings()
        assert "MOSIC_DATABASE_DIRECT_URL" in str(refused.value)
        assert SECRET not in str(refused.value)


def test_a_newline_at_the_end_of_what_is_kept_in_a_file() -> None:
    settings = Settings(
        _env_file=None,
        db_host="h\n",
        db_name="d\r\n",
        db_user="u\n",
        db_password=" p\n",
    )
    url = settings.external_database
    assert url is not None
    assert (url.host, url.database, url.username, url.password) == ("h", "d", "u", " p")


def test_the_folder_of_a_socket_can_be_the_host() -> None:
    url = Settings(_env_file=None, db_host="/run/postgresql").external_database
    assert url is not None
    assert url.query["host"] == "/run/postgresql"


def test_secrets_of_both_urls_are_kept_from_the_log() -> None:
    settings = Settings(
        _env_file=None,
        database_url_override="postgresql://u:one@h/d?sslpassword=two",
        database_direct_url="postgresql://u:three@h/d",
    )
    assert {"one", "two", "three"} <= set(settings.secrets)
