"""docs/recipes.md, run: each example as it stands there, with the packages that it names, and what it prints."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml
from typer.testing import CliRunner

from recorder.cli import app
from tests.archives import trade, writing
from tests.end_to_end.harness import REPOSITORY

DOCUMENT: Final = (REPOSITORY / "docs" / "recipes.md").read_text()
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED: Final = re.compile(r"(?:#|--) (\S+\.(?:yml|yaml|sql))\n")
INSTALL: Final = re.compile(r"`pip install ([^`]+)`")
NOT_RUN: Final = "*not run*"
ENVIRONMENTS: Final = {
    "DuckDB's command line and UI": "cli",
    "Ibis": "ibis",
    "SQLAlchemy": "sqlalchemy",
    "dbt": "dbt",
    "backtrader": "backtrader",
}
"""The sections that need packages of others, and the environment with them: ``make recipes`` installs all."""
DATABASE: Final = "A database file for any tool"
OURS: Final = ("polars", "pandas", "pyarrow, and engines that read its datasets", "LEAN")


@dataclass(frozen=True)
class Example:
    """A block of a section: its language, the file it is to be stored in, and what must be printed."""

    language: str
    text: str
    runs: bool
    stored: str | None = None
    printed: str | None = None


def sections() -> dict[str, str]:
    parts = DOCUMENT.split("\n## ")[1:]
    return {title: body for title, _, body in (part.partition("\n") for part in parts)}


def examples(section: str) -> list[Example]:
    found: list[Example] = []
    end = 0
    for block in BLOCK.finditer(section):
        language, text = block.groups()
        said = section[end : block.start()].strip()
        end = block.end()
        if language == "text":
            found[-1] = Example(found[-1].language, found[-1].text, found[-1].runs, printed=text)
            continue
        named = NAMED.match(text)
        found.append(Example(language, text, NOT_RUN not in said.rpartition("\n\n")[2], named[1] if named else None))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive of the document, and the database that the command in it writes."""
    made = tmp_path_factory.mktemp("recipes")
    with writing(made / "data") as archive:
        archive.append([trade(number, price=price) for number, price in ((1, "101"), (2, "102"), (3, "100"))])
        archive.append([trade(1, price="5", pair="ETH/USD")])
        archive.listed("BTC/USD", 1)
    with contextlib.chdir(made):
        (command,) = examples(sections()[DATABASE])
        written = CliRunner().invoke(app, shlex.split(command.text)[1:], catch_exceptions=False)
    assert written.exit_code == 0
    return made


def run(section: str, folder: Path, python: Path) -> None:
    """Store the files of a section, run its examples, and compare what they print."""
    environ = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    ran = 0
    for one in examples(sections()[section]):
        if one.stored is not None:
            path = folder / one.stored
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(one.text)
            continue
        if not one.runs:
            continue
        shell = ["bash", "-euc"] if one.language == "sh" else [str(python), "-c"]
        done = subprocess.run(
            [*shell, one.text], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, f"{one.text}\n{done.stdout}{done.stderr}"
        assert one.printed is None or done.stdout == one.printed, f"{one.text}\n{done.stderr}"
        ran += 1
    assert ran


@pytest.mark.parametrize("section", ENVIRONMENTS)
def test_other_tools_read_the_archive_as_the_document_says(section: str, folder: Path, tmp_path: Path) -> None:
    python = REPOSITORY / ".recipes" / ENVIRONMENTS[section] / "bin" / "python"
    if not python.exists():
        pytest.skip(f"`make recipes` installs what the recipe for {section} needs; it is not here")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    run(section, tmp_path, python)


@pytest.mark.parametrize("section", OURS)
def test_frames_are_read_as_the_document_says(
    section: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for one in examples(sections()[section]):
        exec(compile(one.text, section, "exec"), {})
        assert capsys.readouterr().out == one.printed


def test_every_recipe_is_run_or_marked() -> None:
    for title, body in sections().items():
        for one in examples(body):
            if title in {*ENVIRONMENTS, *OURS, DATABASE}:
                continue
            assert not one.runs, f"nothing runs {one.text!r} of {title}: mark it"
            if one.language == "yaml":
                assert yaml.safe_load(one.text)["datasources"][0]["jsonData"] == {"path": "/srv/archive.duckdb"}


@pytest.mark.parametrize("section", ENVIRONMENTS)
def test_the_environment_of_a_recipe_has_what_the_document_names(section: str) -> None:
    named = INSTALL.findall(sections()[section])
    wanted = {re.split("[<=>]", word.strip("'"))[0] for text in named for word in text.split()}
    pinned = (REPOSITORY / ".ci" / "recipes" / f"{ENVIRONMENTS[section]}.txt").read_text().split()
    assert wanted <= {line.partition("==")[0] for line in pinned}
