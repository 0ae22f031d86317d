"""The notebooks run as they stand, on a sandbox archive that is made on the spot."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import recorder

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"
DATA_LINE = 'DATA = "../data"  # the one line to change: the folder of your archive'
LONGEST_S = 120
"""For one cell on a busy machine; it takes a few seconds at most."""


@pytest.fixture(scope="module")
def recorded() -> Path:
    """An archive as the notebooks record it for whoever has none."""
    return Path(runpy.run_path(str(NOTEBOOKS / "local_exchange.py"))["record"]())


def load(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # the library has no types


def execute(name: str, data: Path) -> str:
    """Run all cells with ``data`` for the folder; return what they showed, as text."""
    notebook = load(NOTEBOOKS / f"{name}.ipynb")
    (cell,) = [cell for cell in notebook.cells if DATA_LINE in cell.source]
    cell.source = cell.source.replace(DATA_LINE, f"DATA = {str(data)!r}")
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=LONGEST_S, kernel_name="python3", resources=resources).execute(
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(part for output in outputs for part in output.get("data", {}).values() if isinstance(part, str))


def test_quickstart_gets_from_nothing_to_a_chart(tmp_path: Path) -> None:
    shown = execute("quickstart", tmp_path / "data")
    assert "first_id" in shown
    assert "vegaEmbed" in shown
    assert 'src="http' not in shown


def test_data_quality_computes_a_certificate_again(recorded: Path) -> None:
    shown = execute("data_quality", recorded)
    with recorder.connect(recorded) as archive:
        certified = archive.certificates(hashed=True, to="arrow").to_pylist()
    last = [row["sha256"] for row in certified if row["pair"] == "BTC/USD"][-1]
    assert shown.count(last) == 2
    assert "equal" in shown


def test_research_compares_the_pairs(recorded: Path) -> None:
    shown = execute("research", recorded)
    assert "parkinson" in shown
    assert "imbalance" in shown
    assert "DOGE/USD" in shown


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_output_is_committed(path: Path) -> None:
    notebook = load(path)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
