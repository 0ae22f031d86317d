"""Candles of all pairs with Spark, in one process and as a cluster of two workers, compared with ours.

    python -m benchmarks.engines.spark [--trades 20000000 --files 3000]

The archive is that of ``benchmarks.build_archive``. Spark reads it by ``recorder views --engine spark``, and writes its
1-hour candles of all pairs, by pair and year, as Parquet; these must equal those of ``recorder.connect()`` to the last
digit, ``complete`` and vwap included. Once with ``local[2]``, once with a standalone master and two workers of a core
each, on loopback. Ends with 1 if anything differs. Printed are the seconds that each took, to know from which size on
more than one machine is worth while.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from benchmarks.build_archive import build, chosen
from recorder.query import engine_views
from recorder.query.connect import connect

HERE: Final = Path(__file__).parent
PYTHON: Final = HERE.parents[1] / ".recipes" / "spark" / "bin" / "python"
CLASSES: Final = "org.apache.spark.deploy"
COLUMNS: Final = "pair, time, open, high, low, close, vwap, volume, count, complete"
DIFFERENT: Final = f"""
SELECT count(*)
FROM (
    (SELECT {COLUMNS} FROM ours EXCEPT ALL SELECT {COLUMNS} FROM theirs)
    UNION ALL
    (SELECT {COLUMNS} FROM theirs EXCEPT ALL SELECT {COLUMNS} FROM ours)
)
"""


def different(ours: pa.Table, out: Path) -> int:
    """Return how many rows only one of the two has; decimals are compared exactly."""
    with duckdb.connect() as client:
        client.register("ours", ours)
        client.execute(
            f"CREATE VIEW theirs AS FROM read_parquet('{out}/*/*/*.parquet', hive_partitioning = true, "
            "hive_types_autocast = false)"
        )
        ((count,),) = client.execute(DIFFERENT).fetchall()
    return int(count)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a standalone master and two workers of one core on loopback; yield the master's address."""
    found = subprocess.run(
        [PYTHON, "-c", "import pyspark; print(pyspark.__path__[0])"], capture_output=True, text=True, check=True
    )
    home, port = found.stdout.strip(), str(free_port())
    environment = {**os.environ, "SPARK_HOME": home, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_WORKER_DIR": str(folder)}
    environment["SPARK_DAEMON_JAVA_OPTS"] = "-Dspark.master.rest.enabled=false"
    master = f"spark://127.0.0.1:{port}"
    commands = [
        [f"{CLASSES}.master.Master", "--host", "127.0.0.1", "--port", port, "--webui-port", "0"],
        *(
            [f"{CLASSES}.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "-c", "1", "-m", "2g", master]
            for _ in range(2)
        ),
    ]
    with contextlib.ExitStack() as running:
        for command in commands:
            process = running.enter_context(
                subprocess.Popen(
                    [f"{home}/bin/spark-class", *command],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            running.callback(process.terminate)
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 1):
                break
            time.sleep(0.1)
        yield master


def run(data: Path, folder: Path, master: str) -> dict[str, Any]:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [str(part) for part in (PYTHON, HERE / "candles_spark.py", data, folder / "views", out, master)]
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2_000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def judge(name: str, found: dict[str, Any], ours: pa.Table, folder: Path, executors: int) -> bool:
    odd = different(ours, folder / "out")
    checks = {**found["checks"], f"{executors} executors": found["executors"] == executors}
    print(f"{name:<20} {found['seconds']:7.1f} s  {'equal' if odd == 0 else f'DIFFERENT in {odd} rows'}")
    for check, holds in checks.items():
        print(f"  {check}: {'yes' if holds else 'NO'}")
    return odd == 0 and all(checks.values())


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trades", type=int, default=60_000)
    arguments.add_argument("--files", type=int, default=60)
    arguments.add_argument("--data", type=Path, help="An archive of benchmarks.build_archive, instead of a new one.")
    given = arguments.parse_args()
    if not (PYTHON.parents[1] / "installed").exists() or not shutil.which("java"):
        print("Spark: not installed (it needs java)")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = given.data or folder / "data"
        if given.data is None:
            build(folder, chosen(given.trades, given.files))
        (folder / "views").write_text(engine_views.text(engine_views.Engine.SPARK, data.absolute()))
        with connect(data) as archive:
            ((count,),) = archive.sql("SELECT count(*) FROM trades", to="arrow").to_pydict().values()
            began_s = time.perf_counter()
            ours = archive.candles(archive.pairs(), "1h", to="arrow", decimals=True)
            took_s = time.perf_counter() - began_s
        size = sum(path.stat().st_size for path in (data / "trades").rglob("*.parquet"))
        print(f"{count:,} trades, {size / 1e9:.2f} GB: {ours.num_rows:,} candles")
        print(f"{'recorder.connect()':<20} {took_s:7.1f} s")
        good = judge("Spark, local[2]", run(data, folder, "local[2]"), ours, folder, 1)
        with cluster(folder / "work") as master:
            good &= judge("Spark, two workers", run(data, folder, master), ours, folder, 2)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
