"""Write what the code knows about itself into `.env.example`, README.md and docs/errors.md.

`python scripts/document.py` rewrites them; with `--check` it only says which are behind, as a test does.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from types import NoneType
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from mosic.errors import MosicError, all_errors
from mosic.settings import Settings

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


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation)) and NoneType is not field.annotation


def env_example() -> str:
    lines = ["# Every setting of Mosic with its default. Copy to .env and uncomment what you change.", ""]
    for name, field in Settings.model_fields.items():
        lines.append(f"# {field.description}{_choices(field)}".replace("`", ""))
        lines.append(f"# MOSIC_{name.upper()}={_default(field)}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def settings_table() -> str:
    lines = ["| setting | default | what |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = f"`{_default(field)}`" if _default(field) else "–"
        lines.append(f"| `MOSIC_{name.upper()}` | {default} | {field.description}{_choices(field)} |")
    return "\n".join(lines)


def errors_table() -> str:
    lines = ["| code | status | what it means | what to do |", "|---|---|---|---|"]
    advised = remedies()
    for error in sorted(all_errors(), key=lambda one: one.code):
        meant = " ".join((f"{error.title}.", *_own_docstring(error).split()))
        code = f'<a id="{error.code}"></a>`{error.code}`'
        lines.append(f"| {code} | {error.status} | {meant} | {advised.get(error.code, '')} |")
    return "\n".join(lines)


def remedies() -> dict[str, str]:
    """Code → what to do."""
    return tomllib.loads((TOP / "scripts/remedies.toml").read_text())


def _own_docstring(error: type[MosicError]) -> str:
    return (error.__doc__ or "") if "__doc__" in vars(error) else ""


def replace_between(text: str, name: str, content: str) -> str:
    """Put the content between `<!-- name -->` and `<!-- /name -->`."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no place marked {name!r}")
    return pattern.sub(lambda match: match[1] + content + match[2], text)


def documents() -> dict[Path, str]:
    """Path → what it should contain."""
    readme, errors = TOP / "README.md", TOP / "docs/errors.md"
    return {
        TOP / ".env.example": env_example(),
        readme: replace_between(readme.read_text(), "settings", settings_table()),
        errors: replace_between(errors.read_text(), "errors", errors_table()),
    }


if __name__ == "__main__":
    behind = [path for path, content in documents().items() if path.read_text() != content]
    if "--check" in sys.argv:
        sys.exit("\n".join(f"{path.name} is behind: run scripts/document.py" for path in behind) or 0)
    for path in behind:
        path.write_text(documents()[path])
