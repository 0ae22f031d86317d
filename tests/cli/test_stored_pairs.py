from __future__ import annotations

from pathlib import Path

import pytest

from recorder.cli.stored_pairs import stored_pairs
from recorder.errors import UsageError
from tests.archives import writing


def test_other_names_are_taken_and_printed_and_several_are_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path) as archive:
        archive.listed("BTC/USD", 1)
    held = ["BTC/USD", "ETH/USD", "AAPLx/USD", "AAPLX/USD"]
    assert stored_pairs(["ETH/USD", "ETH/USD"], held, archive.layout) == ["ETH/USD"]
    assert capsys.readouterr().err == ""
    assert stored_pairs(["xbtusd", "eth-usd", "BTC/USD"], held, archive.layout) == ["BTC/USD", "ETH/USD"]
    assert capsys.readouterr().err == "recorder: xbtusd is taken for BTC/USD, eth-usd for ETH/USD\n"
    with pytest.raises(UsageError, match="may mean AAPLX/USD or AAPLx/USD"):
        stored_pairs(["aaplx-usd"], held, archive.layout)
    with pytest.raises(UsageError, match="no trades of 'BTC/USD'; it holds ETH/EUR"):
        stored_pairs(["BTC/USD"], ["ETH/EUR"], archive.layout)
