"""The Python in the documents runs as it stands, over an archive of the pairs that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.archives import at_us, trade, writing

REPOSITORY = Path(__file__).parents[2]
PAIRS = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD", "DOGE/USD"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that has an archive called data."""
    found = tmp_path_factory.mktemp("documents")
    with writing(found / "data") as archive:
        for pair in PAIRS:
            archive.append([trade(n, at_us(n * 10), price=str(100 + n % 7), pair=pair) for n in range(1, 40)])
    return found


@pytest.mark.filterwarnings("ignore::recorder.AliasWarning")
@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_the_blocks_of_a_document_run_one_after_the_other(
    document: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / document).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, document, "exec"), names)
    names["archive"].close()
    assert set(PAIRS[:2]) <= set(names["closes"].columns)
    assert len(names["joined"]) > 3
    assert names["volatility"]["close_to_close"].iloc[0] > 0
