"""Secrets are hidden by where they stand; ordinary words never are, whatever the secrets happen to be."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosic.wire.redaction import Redaction, redacted

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://mosic:{SECRET}@db.example:5432/mosic",
        f"postgresql+asyncpg://mosic:p@{SECRET}@db.example/mosic",
        f"postgresql://db.example/mosic?user=mosic&password={SECRET}&sslmode=require",
        f"redis://:{SECRET}@cache",
        f"https://{SECRET}@music.example/a.mp3",
        f"GET /play/x/stream?expires=1&signature={SECRET} HTTP/1.1",
        f"https://cdn.example/a.mp3?token={SECRET}&x=1",
        f"X-API-Key: {SECRET}",
        f"x-api-key:{SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"proxy-authorization: basic {SECRET}",
        f"Cookie: session={SECRET}",
        f"{{'x-api-key': '{SECRET}', 'accept': '*/*'}}",
        f"[(b'x-api-key', b'{SECRET}'), (b'host', b'x')]",
        json.dumps({"X-API-Key": SECRET}),
        json.dumps({"event": json.dumps({"authorization": f"Bearer {SECRET}"})}),
        json.dumps({"event": f"failed: postgresql://u:{SECRET}@h/d", "level": "error"}),
        f"connection string: host=db password={SECRET} dbname=mosic",
        f"password='{SECRET}'",
    ],
)
def test_by_where_it_stands(text: str) -> None:
    assert SECRET not in redacted(text)
    assert "…" in redacted(text)


def test_the_rest_stays_readable() -> None:
    assert redacted("postgresql://mosic:pw@db.example:5432/mosic?sslmode=require") == (
        "postgresql://…@db.example:5432/mosic?sslmode=require"
    )
    assert redacted("X-API-Key: abc, Accept: */*") == "X-API-Key: …, Accept: */*"
    line = json.dumps({"url": "https://u:p@h/x?token=t&y=1", "x-api-key": "k", "event": "done"})
    assert json.loads(redacted(line)) == {
        "url": "https://…@h/x?token=…&y=1",
        "x-api-key": "…",
        "event": "done",
    }


@pytest.mark.parametrize(
    "text",
    [
        "Mosic listens on http://localhost:8000 (the API key is in /srv/.mosic/api_key).",
        'curl -H "X-API-Key: $(cat /srv/.mosic/api_key)" -F file=@song.mp3 http://localhost:8000/play/upload',
        'curl -H "X-API-Key: $MOSIC_API_KEY" http://localhost:8000/play',
        "The key in the header X-API-Key is not valid.",
        "password authentication failed for user mosic",
        "mail to anna@example.org about http://example.org/",
        "names=['default'] tokens=3",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("secret", ["e", "mosic", "server", "info", "password", "postgres", "started"])
def test_a_short_secret_does_not_show_in_what_is_missing(secret: str) -> None:
    text = "mosic.server [info] the server of mosic started; password asked by postgres"
    assert Redaction([secret])(text) == text


def test_a_long_secret_is_hidden_wherever_it_stands() -> None:
    secret = 'k3y-with-"quotes"\\and-more'
    hide = Redaction([secret, secret[:20], ""])
    assert hide(f"it is {secret}.") == "it is …."
    assert hide(json.dumps({"event": f"it is {secret}."})) == json.dumps(
        {"event": "it is …."}, ensure_ascii=False
    )
    assert hide(f"its beginning is {secret[:20]}!") == "its beginning is …!"


@given(st.dictionaries(st.text(), st.text()))
def test_json_stays_json(event: dict[str, str]) -> None:
    assert isinstance(json.loads(redacted(json.dumps(event))), dict)


@pytest.mark.parametrize(
    "piece",
    ["://", "://a", "@", "a", "x-api-key", "x-api-key:", "cookie, ", "token=", "=", " ", '\\"', "password= "],
)
def test_in_linear_time(piece: str) -> None:
    """A line of the log may be long, and its text a stranger's: twice the length, twice the time."""

    def cost(length: int) -> float:
        text = piece * (length // len(piece))
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            redacted(text)
            best = min(best, time.process_time() - begun)
        return best

    short, long = cost(50_000), cost(400_000)
    # Eight times the length; sixty-four times the time would be quadratic.
    assert long < 30 * max(short, 0.002)
