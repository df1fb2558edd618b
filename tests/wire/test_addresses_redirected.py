"""Where a `Location` may lead: RFC 3986 §5 for where, the guard for whether."""

from __future__ import annotations

import pytest

from mosic.errors import RemoteRefused
from mosic.wire.addresses import check_url, redirected


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/b", "https://cdn.example/b"),
        ("//cdn.example/b", "https://cdn.example/b"),
        ("/b?c#d", "https://host.example:8443/b?c"),
        ("b", "https://host.example:8443/dir/b"),
        ("../b", "https://host.example:8443/b"),
        ("?c=1", "https://host.example:8443/dir/a.mp3?c=1"),
        ("/a song.mp3", "https://host.example:8443/a%20song.mp3"),
        ("/gr\u00f6\u00dfe", "https://host.example:8443/gr%C3%B6%C3%9Fe"),
        # an octet that is not UTF-8, as the HTTP parser hands it over
        ("/gr\udcf6sse", "https://host.example:8443/gr%F6sse"),
        ("/signed%2Fpath?s=%2B", "https://host.example:8443/signed%2Fpath?s=%2B"),
    ],
)
def test_a_location_is_resolved_like_rfc_3986_says(location: str, target: str) -> None:
    source = check_url("https://host.example:8443/dir/a.mp3?old=1")
    assert str(redirected(source, location)) == target


@pytest.mark.parametrize(
    "location",
    [
        "http://host.example/a",
        "https://127.0.0.1/a",
        "//127.0.0.1/a",
        "//2130706433/a",
        "//localhost/a",
        "https://[::1/a",
        "https://[::ffff:127.0.0.1]/a",
        "https://user:pw@host.example/a",
        "ftp://host.example/a",
        "file:///etc/passwd",
        "https://host.example:22/",
        "https://169.254.169.254/latest/meta-data/",
    ],
)
def test_a_location_that_leads_astray_is_refused(location: str) -> None:
    with pytest.raises(RemoteRefused):
        redirected(check_url("https://host.example/a"), location)


def test_http_may_lead_to_https() -> None:
    assert (
        str(redirected(check_url("http://host.example/"), "https://host.example/")) == "https://host.example/"
    )
