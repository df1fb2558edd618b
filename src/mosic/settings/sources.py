"""Where settings come from: the environment, a file `.env`, and files that hold one secret each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from mosic.errors import StartupError
from mosic.settings.files import changed_by_others, read_secret, warning_about_readers
from mosic.settings.names import PREFIX, Name, closest_name, is_of_others

# The field that names a folder of programs for Mosic to start.
_PROGRAMS = "postgres_bin"


@dataclass(frozen=True, slots=True)
class Value:
    """One setting as it was read: its text, its variable, and the `.env` with the variable."""

    text: str = field(repr=False)
    name: str
    file: Path | None = None

    @property
    def place(self) -> str:
        """The variable, for messages: `MOSIC_PORT`, or `MOSIC_PORT in /srv/.env`."""
        return f"{self.name} in {self.file}" if self.file else self.name


@dataclass(frozen=True, slots=True)
class Found:
    """The content of one source: values by field, and notices for the operator."""

    values: dict[str, Value] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def from_environment(environment: Mapping[str, str], names: Mapping[str, Name]) -> Found:
    """Raises `StartupError` for one setting with two different values, and for an unusable secret file."""
    ours = {name: text for name, text in environment.items() if not is_of_others(name.upper(), text)}
    return _collect(ours.items(), names, None)


def from_file(file: Path, names: Mapping[str, Name]) -> Found:
    """The settings of a `.env`; none if it does not exist. Lines about other programs are ignored.

    Raises `StartupError` like `from_environment`, when the file exists but cannot be read, and when a
    line about Mosic cannot be parsed: a restriction that it sets must not be lost.
    """
    text = _read(file)
    if text is None:
        return Found()
    bindings = list(parse_stream(StringIO(text)))
    unread = [_about_unreadable(file, binding) for binding in bindings if binding.error]
    lines = "".join(binding.original.string for binding in bindings if not binding.error)
    pairs = {name: value or "" for name, value in dotenv_values(stream=StringIO(lines)).items()}
    for name, value in pairs.items():
        if name.upper().startswith(PREFIX) and any("\udc80" <= letter <= "\udcff" for letter in value):
            raise StartupError(f"{name} in {file} is not UTF-8: save the file as UTF-8.")
    found = _collect(pairs.items(), names, file)
    return Found(found.values, (*unread, *found.notices, *_about_access(file, found.values, names)))


def _collect(pairs: Iterable[tuple[str, str]], names: Mapping[str, Name], file: Path | None) -> Found:
    values: dict[str, Value] = {}
    notices = []
    for name, text in pairs:
        if not name.upper().startswith(PREFIX) or not text:
            continue
        # Secrets of Kubernetes, and output of `$(…)` in some tools, end in a newline.
        value = Value(text.rstrip("\r\n"), name, file)
        meant = names.get(name.upper())
        if meant is None:
            notices.append(_about_unknown(value, names))
            continue
        if meant.from_file:
            value, notice = _from_secret_file(value)
            notices += [notice] if notice else []
        before = values.setdefault(meant.field, value)
        if before.text != value.text:
            raise StartupError(
                f"{before.name} and {value.place} are both set, and differ. They are one setting: remove one."
            )
    return Found(values, tuple(notices))


def _from_secret_file(value: Value) -> tuple[Value, str | None]:
    file = Path(value.text)
    try:
        file = file.expanduser()
        text = read_secret(file)
    except (ValueError, RuntimeError) as error:
        raise StartupError(f"{value.place}: {file} {error}") from None
    return Value(text, value.name, value.file), warning_about_readers(file, value.name)


def _about_unknown(value: Value, names: Mapping[str, Name]) -> str:
    meant = closest_name(value.name.upper(), names)
    advice = f"did you mean {meant}?" if meant else "docs/settings.md lists them all"
    return f"{value.place} is not a setting of Mosic and has no effect; {advice}"


def _read(file: Path) -> str | None:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        if file.is_symlink():
            raise StartupError(
                f"{file} cannot be read: it is a link to a file that does not exist."
            ) from None
        return None
    except OSError as error:
        raise StartupError(f"{file} cannot be read: {error.strerror}.") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise StartupError(f"{file} is not UTF-8 text (it may be UTF-16): save it as UTF-8.")
    # A comment in another encoding does no harm; a value in one is refused later, with its name.
    return content.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _about_unreadable(file: Path, binding: Binding) -> str:
    """Without the text of the line, which may be a secret."""
    whole = binding.original.string
    line = whole.strip().removeprefix("export ").strip()
    number = binding.original.line + whole[: len(whole) - len(whole.lstrip())].count("\n")
    if PREFIX not in line.upper():
        return f"line {number} of {file} is not of the form NAME=value and was ignored"
    name, rest = re.fullmatch(r"(\w*)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
    place = f"{name} in {file}, line {number}" if name else f"{file}, line {number}"
    if rest.lstrip().startswith(":"):
        raise StartupError(f"{place}: write NAME=value, with = instead of the colon.")
    raise StartupError(f"{place}: this is not of the form NAME=value; is a quote missing at its end?")


def _about_access(file: Path, values: Mapping[str, Value], names: Mapping[str, Name]) -> list[str]:
    """Notices about accounts that can change the file: they could start programs, or get secrets."""
    notices = []
    changed = changed_by_others(file)
    program = values.get(_PROGRAMS)
    if program is not None:
        if changed is not None:
            raise StartupError(
                f"{program.place} names programs for Mosic to start, but the file {changed}: set it in the "
                "environment instead."
            )
        notices.append(f"{program.place}: Mosic starts the programs that are in {program.text}")
    if values and changed is not None:
        notices.append(f"{file} {changed}: other accounts can change the settings in it")
    kept = [
        value.name
        for value in values.values()
        if (known := names[value.name.upper()]).secret and not known.from_file
    ]
    if kept and (warning := warning_about_readers(file, kept[0])):
        notices.append(warning)
    return notices
