"""The trap of PyIceberg: add_files() leaves out what folders are named. Run: python ask_iceberg.py DATA VIEWS."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyiceberg.catalog.sql import SqlCatalog


def main(data: str, _: str) -> None:
    folders = ds.partitioning(pa.schema([("pair", pa.string()), ("year", pa.int32())]), flavor="hive")
    stored = ds.dataset(f"{data}/trades", partitioning=folders)
    with tempfile.TemporaryDirectory() as folder:
        catalog = SqlCatalog("local", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
        catalog.create_namespace("archive")
        registered = catalog.create_table("archive.registered", schema=stored.schema)
        registered.add_files(
            [str(path) for path in Path(data, "trades").rglob("*.parquet") if path.name != "schema.parquet"]
        )
        copied = catalog.create_table("archive.copied", schema=stored.schema)
        copied.append(stored.to_table())

        def pairs(table: object) -> list[list[object]]:
            return [[pair] for pair in pc.unique(table.scan().to_arrow()["pair"]).to_pylist()]  # type: ignore[attr-defined]

        trap = {"of": "pairs", "naive": pairs(registered), "remedies": {"append() of a dataset": pairs(copied)}}
    print(json.dumps({"traps": {"add_files() makes pair NULL": trap}}))


main(*sys.argv[1:])
