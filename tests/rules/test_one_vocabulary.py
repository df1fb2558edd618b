"""Facts that many files need are listed in one file: the words of a clip, the types of files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mosic.audio.types import FILE_TYPES
from mosic.words import WORDS
from tests.rules.test_house import MODULES, SOURCE, name_of

NAMES = frozenset(word.name for word in WORDS)
# So many of them in one literal, class, signature or call are a list.
FEW = 3
# Which classes and variables name more of them, for a reason of their own.
EXCEPTIONS = {
    "Stats": "what earlier systems answer, which does not grow with the words",
    **dict.fromkeys(("DemoClip", "render.tags"), "the files that the demo makes"),
    **dict.fromkeys(("ID3", "MP4", "THREE_GPP", "ASF", "_INFO_NAMES"), "tags of files"),
    "_ALIASES": "other names of tags",
    "SHARED_NAMES": "texts of the OpenAPI document; a test finds the word that has none",
}
Found = tuple[str, int, frozenset[str]]


def lists_in(tree: ast.AST, owner: str = "") -> Iterator[Found]:
    """Dotted name of the class, function or variable, line, and the words that it names together."""
    for node in ast.iter_child_nodes(tree):
        inside = owner
        match node:
            case (
                ast.ClassDef(name=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.Assign(targets=[ast.Name(id=name)])
                | ast.AnnAssign(target=ast.Name(id=name))
            ):
                inside = f"{owner}.{name}".lstrip(".")
        if named := frozenset(_named_by(node)) & NAMES:
            yield inside, getattr(node, "lineno", 0), named
        yield from lists_in(node, inside)


def _named_by(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.ClassDef(body=body) | ast.Module(body=body):
            yield from (
                one.target.id
                for one in body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            )
        case ast.arguments():
            yield from (one.arg for one in (*node.posonlyargs, *node.args, *node.kwonlyargs))
        case ast.Call(args=args, keywords=keywords):
            yield from (one.arg for one in keywords if one.arg)
            yield from _members(args)
        case ast.Dict(keys=keys, values=values):
            yield from _members([*keys, *values])
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            yield from _members(elements)
        case ast.Constant(value=str(text)):
            yield from re.findall(r"\w+", text)


def _members(nodes: Sequence[ast.expr | None]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.Constant(value=str(name)) | ast.Attribute(attr=name):
                yield name


def is_a_list(named: frozenset[str]) -> bool:
    """A name of two words is nothing but a word of a clip."""
    return len(named) > FEW or any("_" in name for name in named)


@pytest.mark.parametrize("path", [one for one in MODULES if one != SOURCE / "mosic/words.py"], ids=name_of)
def test_the_words_of_a_clip_are_listed_once(path: Path) -> None:
    for owner, line, named in lists_in(ast.parse(path.read_text())):
        assert owner in EXCEPTIONS or not is_a_list(named), f"{path}:{line}: {owner} lists {sorted(named)}"


def test_no_exception_is_left_over() -> None:
    needed = {
        owner
        for path in MODULES
        for owner, _, named in lists_in(ast.parse(path.read_text()))
        if is_a_list(named)
    }
    assert set(EXCEPTIONS) <= needed


@pytest.mark.parametrize(
    "source",
    [
        "class C:\n title: str\n artist: str\n album: str\n genre: str",
        "def f(clip_id, *, title=None, artist=None, album=None, genre=None): ...",
        "f(title=1, artist=2, album=3, genre=4)",
        "f(clip.title, clip.artist, clip.album, clip.genre)",
        "x = ('title', 'artist', 'album', 'genre')",
        "x = [clip.title, clip.artist, clip.album, clip.genre]",
        "x = {'title': 1, 'artist': 2, 'album': 3, 'genre': 4}",
        "x = {'a': 'title', 'b': 'artist', 'c': 'album', 'd': 'genre'}",
        "x = 'greatest(length(title), length(artist), length(album), length(genre))'",
        "x = 'disc_number >= 0'",
    ],
)
def test_a_second_list_is_found(source: str) -> None:
    assert any(is_a_list(named) for _, _, named in lists_in(ast.parse(source)))


def texts_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_media_type_of_the_source_is_in_the_table_of_file_types() -> None:
    """Each reader of a format names its own; so none of them lacks an ending."""
    readers = (path for path in MODULES if path.parent == SOURCE / "mosic/audio")
    named = {text for path in readers for text in texts_in(path) if re.fullmatch(r"audio/[a-z0-9.+-]+", text)}
    assert named == {one.media_type for one in FILE_TYPES}


def test_endings_stand_in_the_table_of_file_types_only() -> None:
    endings = {f".{ending}" for one in FILE_TYPES for ending in one.endings}
    for path in MODULES:
        named = endings & set(texts_in(path))
        assert not named, f"{path} names {sorted(named)}"


@pytest.mark.parametrize(
    "word", ["Source", "Stream", "Body", "Page", "Tally", "Delivery", "Finding", "Part", "Fact", "Trouble"]
)
def test_a_word_names_one_class(word: str) -> None:
    """A reader who meets it need not ask which of them is meant."""
    classes = [
        f"{name_of(path)}.{node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.strip("_") == word
    ]
    assert len(classes) <= 1, classes
