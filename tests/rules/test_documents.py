"""What the code knows about itself stands in the documents, and is up to date there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from mosic.errors import all_errors
from mosic.settings import Settings, load_settings

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
    assert load_settings() == Settings(_env_file=None)
    assert {line.split("=")[0] for line in text.splitlines() if line.startswith("MOSIC_")} == {
        f"MOSIC_{name.upper()}" for name in Settings.model_fields
    }


def test_error_codes_are_unique_and_documented() -> None:
    codes = [error.code for error in all_errors()]
    assert len(codes) == len(set(codes))
    text = (TOP / "docs/errors.md").read_text()
    for code in codes:
        assert f'id="{code}"' in text
