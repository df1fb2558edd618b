"""Lyrics with times: read, printed and read again; and WebVTT, whose syntax is checked here by the letter."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mosic.wire.lrc import Line, Lyrics, parse_lrc, print_lrc, print_vtt

# A line that begins with what looks like a time is read as one.
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40).map(
    lambda text: " ".join(text.replace("[", "(").replace("<", "(").split())
)
TIMED = st.lists(st.tuples(st.integers(0, 999_999), TEXTS), min_size=1, max_size=30).map(
    lambda pairs: Lyrics(None, True, [Line(at / 100, text) for at, text in sorted(pairs, key=lambda p: p[0])])
)
CUE = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})")


@given(TIMED)
def test_what_is_printed_is_read_again(lyrics: Lyrics) -> None:
    assert parse_lrc(print_lrc(lyrics, [("ti", "a]b"), ("la", "")])) == lyrics


@given(
    st.text(max_size=400)
    | st.lists(st.sampled_from(["[1:2]", "[", "]", "9", ":", "<1:2>", "\n", "a"])).map("".join)
)
def test_any_text_is_read(text: str) -> None:
    lyrics = parse_lrc(text)
    starts = [line.start for line in lyrics.lines]
    assert all((start is not None) == lyrics.synced for start in starts)
    if lyrics.synced:
        assert starts == sorted(start for start in starts if start is not None)


@given(TIMED, st.none() | st.floats(0.1, 20_000))
def test_every_cue_of_webvtt_is_valid(lyrics: Lyrics, duration: float | None) -> None:
    first, *cues = print_vtt(lyrics, duration).removesuffix("\n").split("\n\n")
    assert first == "WEBVTT"
    before = -1
    for cue in cues:
        times, *texts = cue.split("\n")
        match = CUE.fullmatch(times)
        assert match
        h1, m1, s1, t1, h2, m2, s2, t2 = map(int, match.groups())
        start, end = ((h1 * 60 + m1) * 60 + s1) * 1000 + t1, ((h2 * 60 + m2) * 60 + s2) * 1000 + t2
        assert before <= start < end
        before = start
        assert texts
        assert all(text and "<" not in text and "-->" not in text for text in texts)


def test_minutes_go_on_beyond_an_hour() -> None:
    lyrics = Lyrics(None, True, [Line(3723.456, "late")])
    assert print_lrc(lyrics) == "[62:03.46]late\n"
    assert "01:02:03.456 --> 01:02:08.456" in print_vtt(lyrics, None)
