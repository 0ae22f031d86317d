from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recorder.core.model import Instrument
from recorder.kraken import asset_pairs, rest_api


@pytest.fixture(scope="session")
def payloads() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "kraken" / "payloads"
    if not folder.is_dir():
        pytest.skip("the recorded payloads (../shared/kraken/payloads beside the repository) are not here")
    return folder


@pytest.fixture(scope="session")
def listed(payloads: Path) -> list[Instrument]:
    """The real listing of 2025-09-11, 1218 pairs."""
    body = (payloads / "rest/AssetPairs/full_1218pairs_2025-09-11.json").read_bytes()
    return list(asset_pairs.parse_listing(rest_api.result(200, body)).entries)


@pytest.fixture(scope="session")
def listing_json(payloads: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((payloads / "rest/AssetPairs/full_1218pairs_2025-09-11.json").read_bytes())
    found: dict[str, dict[str, Any]] = content["result"]
    return found
