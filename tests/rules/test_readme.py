"""Every command of README.md can be pasted as it stands, into sh, bash and zsh."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.programs import needs
from tests.support.readme import TOP, commands

README = (TOP / "README.md").read_text()
COMMANDS = commands(README)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def test_there_are_three_steps() -> None:
    assert COMMANDS[0].startswith('git clone "$REPOSITORY_URL"')
    assert COMMANDS[1:3] == ["make run", ".venv/bin/mosic demo"]


def test_nothing_is_left_to_be_filled_in() -> None:
    """The one name that only the reader knows is said before the first block."""
    known = {"REPOSITORY_URL"}
    assert "`REPOSITORY_URL`" in README.partition("```sh")[0]
    for line in COMMANDS:
        assert not re.search(r"…|\.\.\.|<[a-z]|\bexample\b", line), line
        assert set(re.findall(r"\$\{?([A-Z_]+)", line)) <= known, line
        known |= set(re.findall(r"^([A-Z_]+)=", line))


def test_no_command_is_looked_for_where_it_is_not() -> None:
    for line in COMMANDS:
        assert not re.search(r"(^|[|;&]\s*)(mosic|pytest|alembic)\b", line), line


@pytest.mark.parametrize("line", COMMANDS)
def test_no_shell_takes_a_letter_for_a_sign(line: str) -> None:
    """zsh looks for files by `?`, `*`, `[`, `^` and `#`, takes no comment from a terminal, and stops."""
    assert not re.search(r"[?*\[\]^#!{}]", _QUOTED.sub("", line)), line
    # Within double quotes these are not plain either: `!` is history in bash, `$` and backquotes are values.
    for quoted in _QUOTED.findall(line):
        if quoted.startswith('"'):
            assert not re.search(r"[!`]", quoted), line


@needs("zsh")
def test_zsh_at_a_terminal_reads_them() -> None:
    """Without running them: `-n`, with what a terminal has and a script has not."""
    script = "unsetopt interactivecomments\n" + "\n".join(COMMANDS) + "\n"
    run = subprocess.run(["zsh", "-f", "-i", "-n"], input=script, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
