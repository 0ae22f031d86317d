"""Several real processes on one archive: locks and ids make it come out right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from recorder.archive.coverage import Coverage
from recorder.archive.layout import Layout
from recorder.core.trade_ids import Spans
from tests.archive.rows import PAIR, archive, ids, trades
from tests.powercut import Unsynced

ROOT = Path(__file__).parents[2]
ROUNDS = 60
WRITER = """
import sys
from datetime import date
from pathlib import Path
from recorder.archive.compaction import compact
from tests.archive.rows import PAIR, archive, trades
data, start, step, compacting = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "compact"
with archive(data) as opened:
    for number in range(60):
        first = start + step * number
        opened.append(PAIR, trades(first, first + 14))
        while compacting and compact(opened, PAIR, today=date(9999, 1, 1)):
            pass
"""


def writer(data: Path, start: int, step: int, *, compacting: bool) -> subprocess.Popen[bytes]:
    arguments = [str(data), str(start), str(step), "compact" if compacting else ""]
    return subprocess.Popen([sys.executable, "-W", "error", "-c", WRITER, *arguments], cwd=ROOT)


def test_two_processes_appending_the_same_ids_store_each_once(
    tmp_path: Path,
) -> None:
    last = 10 * (ROUNDS - 1) + 15
    with archive(tmp_path, Unsynced()) as opened:
        opened.append(PAIR, trades(1, 2))
    reader = Coverage(Layout(tmp_path))
    seen, looks, vanished = Spans(), 0, 0
    with (
        writer(tmp_path, 1, 10, compacting=True) as upwards,
        writer(tmp_path, last - 14, -10, compacting=False) as downwards,
    ):
        while upwards.poll() is None or downwards.poll() is None:
            looks += 1
            try:
                now = reader.spans(PAIR)
            except FileNotFoundError:  # compacted meanwhile, as a reader without a lock must expect
                vanished += 1
                continue
            assert all(now.covers(span) for span in seen), "what was held is not held any more"
            seen = now
    assert (upwards.returncode, downwards.returncode) == (0, 0)
    assert looks > vanished
    assert ids(tmp_path) == list(range(1, last + 1))
