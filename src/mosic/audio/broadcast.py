"""The notes of recorders and stations in WAVE files: `bext` (EBU Tech 3285), `iXML`, and `cart` (AES46)."""

from __future__ import annotations

import re
from xml.parsers.expat import ExpatError, ParserCreate, XMLParserType

from mosic.audio.source import Pairs
from mosic.audio.texts import UTF_16_MARKS, decode

LARGEST = 1 << 20
_BEXT = (
    ("description", 256), ("originator", 32), ("originatorreference", 32), ("date", 10),
    ("originationtime", 8),
)  # fmt: skip
_CODING_HISTORY = 602
_CART = (
    ("", 4), ("title", 64), ("artist", 64), ("cutid", 64), ("clientid", 64), ("category", 64),
    ("classification", 64), ("outcue", 64),
)  # fmt: skip
_IXML = {
    "PROJECT": "project", "SCENE": "scene", "TAKE": "take", "TAPE": "tape", "NOTE": "note",
    "CIRCLED": "circled", "FILE_UID": "fileuid", "BWF_DESCRIPTION": "description",
    "BWF_ORIGINATOR": "originator", "BWF_ORIGINATOR_REFERENCE": "originatorreference",
    "BWF_ORIGINATION_DATE": "date", "BWF_ORIGINATION_TIME": "originationtime",
}  # fmt: skip
_OTHER_ENCODING = re.compile(
    rb"""\s*<\?xml[^>]*\sencoding\s*=\s*["'](?!utf-8|us-ascii|iso-8859-1|windows-1252)""", re.IGNORECASE
)
_TRACK = ["TRACK_LIST", "TRACK", "NAME"]


def read_bext(data: bytes) -> Pairs:
    pairs, _ = _fields(data, _BEXT)
    return [*pairs, ("codinghistory", decode(data[_CODING_HISTORY:].partition(b"\0")[0]))]


def read_cart(data: bytes) -> Pairs:
    return _fields(data, _CART)[0]


def _fields(data: bytes, layout: tuple[tuple[str, int], ...]) -> tuple[Pairs, int]:
    pairs: Pairs = []
    at = 0
    for name, size in layout:
        raw = data[at : at + size]
        at += size
        if name:
            pairs.append((name, decode(raw.partition(b"\0")[0], cut=b"\0" not in raw)))
    return pairs, at


def read_ixml(data: bytes) -> Pairs:
    """As far as it can be parsed. A declaration of entities ends the parsing: such files need none."""
    data = data.rstrip(b"\0 \r\n\t")
    encoding = None
    if data[:2] not in UTF_16_MARKS and not _OTHER_ENCODING.match(data):
        # Recorders write Windows-1252, whatever the declaration says.
        encoding, data = "utf-8", decode(data).encode()
    reader = _IxmlReader()
    parser = ParserCreate(encoding)
    parser.buffer_text = True
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    _parse(parser, data)
    return reader.pairs


def _parse(parser: XMLParserType, data: bytes) -> None:
    try:
        parser.Parse(data, True)
    except (ExpatError, ValueError, LookupError):
        return


def _refuse(*_: object) -> None:
    raise ValueError("an entity")


class _IxmlReader:
    def __init__(self) -> None:
        self.pairs: Pairs = []
        self._path: list[str] = []
        self._text = ""

    def start(self, name: str, _: object) -> None:
        self._path.append(name.upper())
        self._text = ""

    def text(self, text: str) -> None:
        self._text += text

    def end(self, _: str) -> None:
        name = _IXML.get(self._path[-1])
        if name and len(self._path) <= 3:
            self.pairs.append((name, self._text))
        elif self._path[-3:] == _TRACK:
            self.pairs.append(("trackname", self._text))
        self._path.pop()
        self._text = ""
