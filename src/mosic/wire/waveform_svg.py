"""A waveform as a picture: SVG 1.1 without any program, in the colours that the viewer prefers."""

from __future__ import annotations

from mosic.wire.waveform import FULL_SCALE, Waveform

MEDIA_TYPE = "image/svg+xml"

# In units of the picture: each pair is a bar of 2 with 1 beside it.
_STEP = 3
_HEIGHT = 160
_AXIS = 24
_MARGIN = 12
# Also silence can be seen.
_SHORTEST_BAR = 1.0
# Seconds between two marks on the axis: the first of these that leaves room for the text.
_INTERVALS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_TEXT_WIDTH = 90

_STYLE = (
    "svg{background:#fff;color-scheme:light dark;max-width:100%;height:auto}"
    ".bars{stroke:#3f51d9;stroke-width:2;stroke-linecap:round;fill:none}"
    ".axis{stroke:#c9cede;stroke-width:1}"
    "text{fill:#69708a;font:12px system-ui,sans-serif;text-anchor:middle}"
    "@media(prefers-color-scheme:dark){svg{background:#14161f}.bars{stroke:#8c9eff}"
    ".axis{stroke:#3a3f52}text{fill:#9aa1ba}}"
)


def as_svg(waveform: Waveform) -> bytes:
    """Full scale is the whole height, so that pictures of clips can be compared."""
    inner = max(waveform.length * _STEP, _TEXT_WIDTH)
    width, height = inner + 2 * _MARGIN, _HEIGHT + _AXIS
    seconds = waveform.length * waveform.samples_per_pixel / waveform.sample_rate
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img">',
        f"<title>Waveform, {_clock(seconds)}</title><style>{_STYLE}</style>",
        *_axis(waveform, inner),
        f'<path class="bars" d="{_bars(waveform)}"/></svg>\n',
    ]
    return "".join(parts).encode("utf-8")


def _bars(waveform: Waveform) -> str:
    middle, scale = _HEIGHT / 2, (_HEIGHT / 2 - 4) / FULL_SCALE
    drawn = []
    for place in range(waveform.length):
        low, high = waveform.peaks[2 * place], waveform.peaks[2 * place + 1]
        top, bottom = middle - high * scale, middle - low * scale
        if bottom - top < _SHORTEST_BAR:
            centre = (top + bottom) / 2
            top, bottom = centre - _SHORTEST_BAR / 2, centre + _SHORTEST_BAR / 2
        drawn.append(f"M{_MARGIN + place * _STEP + 1} {top:.1f}V{bottom:.1f}")
    return "".join(drawn)


def _axis(waveform: Waveform, inner: int) -> list[str]:
    per_second = _STEP * waveform.sample_rate / waveform.samples_per_pixel
    interval = next((one for one in _INTERVALS if one * per_second >= _TEXT_WIDTH), None)
    if interval is None:
        return []
    drawn = []
    for number in range(int(inner / (interval * per_second)) + 1):
        at = _MARGIN + number * interval * per_second + 1
        drawn.append(f'<path class="axis" d="M{at:.1f} {_HEIGHT - 2}v6"/>')
        anchor = ' style="text-anchor:start"' if number == 0 else ""
        x = at - 1 if number == 0 else at
        drawn.append(f'<text x="{x:.1f}" y="{_HEIGHT + 18}"{anchor}>{_clock(number * interval)}</text>')
    return drawn


def _clock(seconds: float) -> str:
    """0:07, 4:00, 1:02:03."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
