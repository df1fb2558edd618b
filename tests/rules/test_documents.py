"""What the code knows about itself stands in the documents, and is up to date there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from mosic.cli.main import app
from mosic.errors import all_errors
from mosic.errors.explained import remedies
from mosic.settings import Settings, load_settings
from mosic.settings.names import is_of_others, names_of

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def document() -> ModuleType:
    spec = importlib.util.spec_from_file_location("document", TOP / "scripts/document.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_documents_are_up_to_date(document: ModuleType) -> None:
    for path, content in document.documents().items():
        assert path.read_text() == content, f"{path.name}: run `.venv/bin/python scripts/document.py`"


def test_env_example_can_be_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uncommented line by line, it gives the defaults: each line is valid and names a real setting."""
    text = re.sub(r"^# (MOSIC_)", r"\1", (TOP / ".env.example").read_text(), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOSIC_LOG_FORMAT")
    assert load_settings() == Settings()
    assert {line.split("=")[0] for line in text.splitlines() if line.startswith("MOSIC_")} == {
        f"MOSIC_{name.upper()}" for name in Settings.model_fields
    }


def test_error_codes_are_unique_and_documented() -> None:
    codes = [error.code for error in all_errors()]
    assert len(codes) == len(set(codes))
    text = (TOP / "docs/errors.md").read_text()
    for code in codes:
        assert f'id="{code}"' in text


def test_every_error_says_what_to_do() -> None:
    assert remedies().keys() == {error.code for error in all_errors()}
    assert all(text.startswith(("Client: ", "Operator: ")) for text in remedies().values())


DOCUMENTS = sorted([*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")])
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    return str(path.relative_to(TOP))


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them, and those that are written down."""
    text = path.read_text()
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text), re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^()\s]+)\)", _FENCED.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{name_of(path)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(path)}: {link}"


def test_the_index_leads_to_every_document() -> None:
    index = (TOP / "docs/README.md").read_text()
    for path in (TOP / "docs").glob("*.md"):
        assert path.name == "README.md" or f"]({path.name}" in index, path.name


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_settings_and_commands_exist(path: Path) -> None:
    text = path.read_text()
    settings = names_of(Settings.model_fields)
    for name in re.findall(r"\bMOSIC_[A-Z_]+\b(?!\*)", text):
        if not is_of_others(name, "") and not name.endswith("_"):
            assert name in settings, f"{name_of(path)}: there is no setting {name}"
    commands = {name: _parameters(command) for name, command in _commands().items()}
    # What is code: in a fence, or between back quotes.
    for line in [*re.findall(r"^.*$", "\n".join(_FENCED.findall(text)), re.MULTILINE), *code_in(text)]:
        # (`docker compose exec mosic mosic backup`: the container has the name of the program.)
        for name, rest in re.findall(r"(?:^|[\s/=])mosic (?:mosic )?([a-z]+(?:-[a-z]+)*)\b([^|&;#]*)", line):
            assert name in commands, f"{name_of(path)}: there is no command `mosic {name}`"
            options = {option for parameter in commands[name] for option in parameter.opts}
            for option in re.findall(r"(?<=\s)--[a-z-]+", rest):
                assert option in options, f"{name_of(path)}: `mosic {name}` has no {option}"
        for target in re.findall(r"\bmake ([a-z]+)\b", line):
            assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(), re.MULTILINE), target
        for script in re.findall(r"(?<![\w/])(?:scripts|tests|deploy|src|docs)/[\w./-]+\w", line):
            assert (TOP / script).exists(), f"{name_of(path)}: there is no {script}"


def code_in(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", _FENCED.sub("", text))


def _parameters(command: Any) -> list[Any]:
    """Those of a group are those of its commands."""
    inside = getattr(command, "commands", {}).values()
    return [*command.params, *(parameter for one in inside for parameter in one.params)]


def _commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def test_every_command_is_documented() -> None:
    readme = (TOP / "README.md").read_text()
    for name in _commands():
        assert f"| `mosic {name}" in readme


@pytest.mark.parametrize("path", sorted((TOP / "docs/decisions").glob("*.md")), ids=name_of)
def test_a_decision_record_has_its_four_parts(path: Path) -> None:
    """As headings, or as the first words of paragraphs: `## Status`, or `**Status**`."""
    parts = re.findall(
        r"^(?:## |\*\*)(Status|Context|Decision|Consequences)\b", path.read_text(), re.MULTILINE
    )
    assert parts == ["Status", "Context", "Decision", "Consequences"]
