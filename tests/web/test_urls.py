"""Addresses in answers, as clients reach the service; and whose word about them is believed."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import URL
from starlette.requests import Request

from mosic.errors import StartupError
from mosic.settings import Settings, load_settings
from mosic.web.urls import Urls
from tests.conftest import shown
from tests.service import AUTH, running_service

PROXY, OTHER_PROXY, STRANGER = "10.0.0.1", "2001:db8::7", "198.51.100.9"
TRUSTED = "10.0.0.0/8, 2001:db8::/32"


def base(
    *headers: tuple[str, str],
    peer: str | None = PROXY,
    trusted: str = TRUSTED,
    public_url: str | None = None,
    host: str = "inner:8000",
) -> str:
    """What answers begin with, of a request with these header fields."""
    fields = [("host", host), *headers]
    request = Request(
        {
            "type": "http",
            "scheme": "http",
            "server": ("127.0.0.1", 8000),
            "client": (peer, 12345) if peer else None,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in fields],
        }
    )
    settings = Settings(_env_file=None, forwarded_allow_ips=trusted, public_url=public_url)
    return Urls.of(request, settings).base


FULL = [
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "music.example"),
    ("X-Forwarded-Prefix", "/audio/"),
    ("X-Forwarded-For", "203.0.113.5"),
]


def test_what_a_trusted_proxy_says() -> None:
    assert base() == "http://inner:8000"
    assert base(*FULL) == "https://music.example/audio"
    assert base(("X-Forwarded-Proto", "https")) == "https://inner:8000"
    assert base(("X-Forwarded-Host", "[2001:db8::1]:8443")) == "http://[2001:db8::1]:8443"


@pytest.mark.parametrize("peer", [STRANGER, "testclient", "", None])
def test_nobody_else_is_believed(peer: str | None) -> None:
    assert base(*FULL, peer=peer) == "http://inner:8000"
    assert base(("Forwarded", "host=evil.example;proto=https"), peer=peer) == "http://inner:8000"


def test_everybody_is_believed_when_that_was_asked_for() -> None:
    for peer in (STRANGER, None):
        assert base(*FULL, peer=peer, trusted="*") == "https://music.example/audio"


def test_the_public_url_wins() -> None:
    assert base(*FULL, public_url="https://cdn.example/m/") == "https://cdn.example/m"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("for=203.0.113.5;host=music.example;proto=https", "https://music.example"),
        ('For="203.0.113.5:80"; Proto=HTTPS ;Host="music.example:8443"', "https://music.example:8443"),
        ('host="mu\\sic.example"', "http://music.example"),
        ('for="[2001:db8:1::1]:47011";host=music.example', "http://music.example"),
        # What comes from before the first trusted proxy is anybody's word.
        ("host=evil.example, for=203.0.113.5;host=music.example", "http://music.example"),
        # Two trusted proxies: the outer one knows the name that the client used.
        ('for=203.0.113.5;host=music.example, for="[2001:db8::7]";host=middle', "http://music.example"),
        ("host=evil.example, for=203.0.113.5;host=music.example, for=10.9.9.9", "http://music.example"),
        ("for=unknown;host=music.example", "http://music.example"),
        ('for="_hidden, host=evil.example"', "http://inner:8000"),
        ("host=a/b;proto=gopher", "http://inner:8000"),
        (";;,,=;host", "http://inner:8000"),
        ('host="unclosed', "http://inner:8000"),
    ],
)
def test_forwarded(said: str, expected: str) -> None:
    """RFC 7239."""
    assert base(("Forwarded", said)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # A proxy that adds to what the client sent: only its own word counts.
        (
            [
                ("X-Forwarded-Host", "evil.example, music.example"),
                ("X-Forwarded-For", "1.1.1.1, 203.0.113.5"),
            ],
            "http://music.example",
        ),
        # Through two trusted proxies that add.
        (
            [
                ("X-Forwarded-Host", "evil.example, music.example, middle"),
                ("X-Forwarded-Proto", "http, https, http"),
                ("X-Forwarded-For", f"1.1.1.1, 203.0.113.5, {OTHER_PROXY}"),
            ],
            "https://music.example",
        ),
        # The same in lines of their own.
        (
            [
                ("X-Forwarded-Host", "evil.example"),
                ("X-Forwarded-Host", "music.example"),
                ("X-Forwarded-For", "203.0.113.5"),
            ],
            "http://music.example",
        ),
        # An outer proxy that sets, and an inner one that adds only the address.
        (
            [("X-Forwarded-Host", "music.example"), ("X-Forwarded-For", f"203.0.113.5, {OTHER_PROXY}")],
            "http://music.example",
        ),
        # A client's Forwarded that a proxy with the older fields lets through.
        ([("Forwarded", "host=evil.example"), ("X-Forwarded-Proto", "https")], "https://inner:8000"),
        ([("X-Forwarded-Host", "a b"), ("X-Forwarded-Prefix", "//evil.example")], "http://inner:8000"),
        ([("X-Forwarded-Host", 'x"><script>'), ("X-Forwarded-Prefix", "no-slash")], "http://inner:8000"),
        ([("X-Forwarded-Proto", "javascript")], "http://inner:8000"),
        ([("X-Forwarded-Prefix", "/")], "http://inner:8000"),
    ],
)
def test_lists_and_nonsense(fields: list[tuple[str, str]], expected: str) -> None:
    assert base(*fields) == expected


def test_fields_without_end() -> None:
    began = time.process_time()
    assert base(("Forwarded", '"\\' * 30_000)) == "http://inner:8000"
    assert base(("Forwarded", "a=b," * 20_000 + "host=music.example")) == "http://music.example"
    assert base(("X-Forwarded-For", "10.0.0.1," * 20_000)) == "http://inner:8000"
    assert time.process_time() - began < 1


def test_a_host_that_is_none() -> None:
    assert base(host="<script>") == "http://127.0.0.1:8000"


@pytest.mark.parametrize("text", ["localhost", "10.0.0.0/33", "10.0.0.1;10.0.0.2"])
def test_proxies_that_are_no_addresses(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSIC_FORWARDED_ALLOW_IPS", text)
    with pytest.raises(StartupError, match="MOSIC_FORWARDED_ALLOW_IPS"):
        load_settings()


async def test_every_address_in_an_answer(
    tmp_path_factory: pytest.TempPathFactory, database_url: URL
) -> None:
    media_root = tmp_path_factory.mktemp("urls") / "media"
    async with running_service(media_root, shown(database_url), remote_allow_private=True) as service:
        said = dict(FULL)
        given = {"title": "x", "audio_url": "http://127.0.0.1/x.mp3"}
        added = await service.http.post("/play", json=given, headers={**AUTH, **said})
        assert added.status_code == 201
        assert added.json()["stream_url"].startswith("https://music.example/audio/play/")
        created = await service.http.post(
            "/api/v1/clips/uploads",
            headers={**AUTH, **said, "Tus-Resumable": "1.0.0", "Upload-Length": "5"},
        )
        location = created.headers["Location"]
        assert location.startswith("https://music.example/audio/api/v1/clips/uploads/")
