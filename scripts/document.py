"""Write what the code knows about itself into `.env.example`, README.md, docs/settings.md and docs/errors.md.

`python scripts/document.py` rewrites them; with `--check` it only says which are behind, as a test does.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import get_args

from pydantic.fields import FieldInfo

from mosic.audio.types import FILE_TYPES
from mosic.errors.explained import explanations
from mosic.settings import Settings
from mosic.settings.names import names_of

TOP = Path(__file__).resolve().parents[1]


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _choices(field: FieldInfo) -> str:
    found = [text for text in get_args(field.annotation) if isinstance(text, str)]
    return f" One of {', '.join(f'`{text}`' for text in found)}." if found else ""


def _also(name: str) -> str:
    own = f"MOSIC_{name.upper()}"
    names = names_of(Settings.model_fields)
    others = [f"`{other}`" for other, meant in names.items() if meant.field == name and other != own]
    return f" Also {', '.join(others)}." if others else ""


def env_example() -> str:
    lines = ["# Every setting of Mosic with its default. Copy to .env and uncomment what you change.", ""]
    for name, field in Settings.model_fields.items():
        lines.append(f"# {field.description}{_choices(field)}".replace("`", ""))
        lines.append(f"# MOSIC_{name.upper()}={_default(field)}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def settings_table() -> str:
    lines = []
    for heading, names in Settings.groups().items():
        lines += [f"## {heading}", "", "| setting | default | what |", "|---|---|---|"]
        for name in names:
            field = Settings.model_fields[name]
            default = f"`{_default(field)}`" if _default(field) else "–"
            what = f"{field.description}{_choices(field)}{_also(name)}"
            lines.append(f"| `MOSIC_{name.upper()}` | {default} | {what} |")
        lines.append("")
    return "\n".join(lines[:-1])


def errors_table() -> str:
    lines = ["| code | status | what it means | what to do |", "|---|---|---|---|"]
    for one in explanations():
        code = f'<a id="{one.code}"></a>`{one.code}`'
        lines.append(f"| {code} | {one.status} | {one.meaning} | {one.remedy} |")
    return "\n".join(lines)


def file_types() -> str:
    *names, last = (one.name for one in FILE_TYPES)
    sentence = (
        f"Formats: {', '.join(names)} and {last}; of a video in one of these, the audio track. "
        "The bytes of a file decide its format, never its name."
    )
    return "\n".join(textwrap.wrap(sentence, 110, break_on_hyphens=False))


def replace_between(text: str, name: str, content: str) -> str:
    """Put the content between `<!-- name -->` and `<!-- /name -->`."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no place marked {name!r}")
    return pattern.sub(lambda match: match[1] + content + match[2], text)


def documents() -> dict[Path, str]:
    """Path → what it should contain."""
    settings, errors, readme = TOP / "docs/settings.md", TOP / "docs/errors.md", TOP / "README.md"
    return {
        TOP / ".env.example": env_example(),
        readme: replace_between(readme.read_text(), "file types", file_types()),
        settings: replace_between(settings.read_text(), "settings", settings_table()),
        errors: replace_between(errors.read_text(), "errors", errors_table()),
    }


if __name__ == "__main__":
    behind = [path for path, content in documents().items() if path.read_text() != content]
    if "--check" in sys.argv:
        sys.exit("\n".join(f"{path.name} is behind: run scripts/document.py" for path in behind) or 0)
    for path in behind:
        path.write_text(documents()[path])
