"""The promise under a random mixture of everything: nothing is lost from it on, and memory tells what the disk tells.

As benchmarks/soak.py, and beside what goes wrong there: odd ids and times, jumps of ids, new listings, new archives in
the place of the one at hand. In rough stretches the recorder is killed and lines are cut; in the others one pair falls
silent, and nothing is cut, so that it can be seen how long that lasts. At so many moments, the market mostly standing
still, the metrics are read, the daemon is stopped, what is missing is read from the disk, the daemon goes on, and the
metrics are read again: where both readings are equal, all three must agree. At the end every archive is recorded to
the end of the market and compared with the truth.

Run by hand: python -m benchmarks.soak --minutes 15 --seed 1 --moments 200
"""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.soak import PACE_PER_S, PATIENCE_S, Act, Soak, refused, wait
from recorder.archive import read_trades, stored_evidence
from recorder.archive.layout import Layout
from recorder.errors import UsageError
from recorder.kraken.silence_rules import LAG_S
from recorder.ops import archive_status
from recorder.sandbox.ground_truth import Truth, compare, read_truth
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.request_log import LoggedRequest
from tests.end_to_end.compared_moments import Differs, Moments
from tests.end_to_end.harness import Process, caught_up, rows

PAUSE_S: Final = (0.1, 2.0)
ROUGH_S: Final = (20.0, 60.0)
SILENT_S: Final = 180.0
"""A silent pair is to be found at two looks, a minute apart, after the first one of a recorder's life."""
LOOKS: Final = 2
"""So many looks that begin once a pair is silent, and are answered."""
DEAD_S: Final = 11.0
"""So long is waited for a dead line to be left."""
DRAINED_S: Final = 4.0
"""An event is in the archive after so long, at a drain every two seconds."""
ODD_TIMES_S: Final = (4_176_528_432, 0, -62_135_596_800)
"""2102, 1970, year 1."""
ODD_DAY_US: Final = 86_400_000_000
ARCHIVES: Final = 4
LISTINGS: Final = 5
JUMPS: Final = 3


class Promises(Soak):
    """One run."""

    def __post_init__(self) -> None:
        """Begin with the first archive, and metrics on a port that is free now."""
        super().__post_init__()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.archives = [self.folder / "data-1"]
        self.listed = 0
        self.rough = True
        self.not_alone_s = 0.0
        self.readings: dict[str, int] = dict.fromkeys(("equal", "under way", "lacking", "not up"), 0)
        self.differing: list[str] = []
        self.left_s: list[float] = []
        self.found_s: list[tuple[float, int]] = []

    @property
    def data(self) -> Path:
        """The archive at hand."""
        return self.archives[-1]

    def process(self, *arguments: str) -> Process:
        """Start a process on the archive at hand."""
        port = self.port if arguments[0] == "run" else 0
        return self.on(self.data, *arguments, port=port)

    def on(self, data: Path, *arguments: str, port: int) -> Process:
        """Start a process on an archive."""
        environ = self.exchange.environ(RECORDER_OPS__PORT=str(port), RECORDER_PAIRS="*")
        environ["RECORDER_EXCHANGE__REQUESTS_PER_SECOND"] = str(PACE_PER_S)
        environ |= {"RECORDER_ARCHIVE__DRAIN_EVERY": "2s", "RECORDER_JOURNAL__SYNC_EVERY": "20ms"}
        environ["RECORDER_OHLC__TIMEFRAMES"] = ""
        return Process(*arguments, "--data", str(data), cwd=self.folder, **environ)

    def acts(self) -> list[Act]:
        """Return all that can be done in a stretch of this kind."""
        random, do = self.random, self.exchange.do
        cuts = {"outage", "refuse", "disconnect", "kill", "stop", "stall", "hush", "brush_off", "mute", "unmute"}
        acts = [act for act in super().acts() if act[1] not in {"stall", "mute", "unmute"}]
        if not self.rough:
            acts = [act for act in acts if act[1] not in cuts and act[1] != "answers"]
        acts += [
            (4, "odd id", lambda: do("stray", self.pair(), 2**40 + random.randrange(2**20))),
            (4, "odd times", lambda: do("stamp", self.pair(), random.randint(1, 5), random.choice(ODD_TIMES_S))),
            (2, "ids skipped", lambda: do("skip_ids", self.pair(), random.randint(1, 50))),
        ]
        if self.done["jump"] < JUMPS:
            acts.append((1, "jump", lambda: do("skip_ids", self.pair(), 10_000_000)))
        if self.listed < LISTINGS:
            acts.append((2, "new listing", self.enlist))
        if self.rough and len(self.archives) < ARCHIVES:
            acts.append((2, "new archive", self.begin_archive))
        return acts

    def begin_backfill(self) -> None:
        """Fetch beside the recorder; what that stores, the recorder learns at its next look."""
        super().begin_backfill()
        self.not_alone_s = time.monotonic()

    def enlist(self) -> None:
        """List a pair that has never traded; some never will."""
        self.listed += 1
        trades_per_s = self.random.choice([0.0, 0.05, 2.0])
        pair = pair_of(f"NEW{self.listed}/USD", pair_decimals=4, lot_decimals=8)
        self.exchange.do("enlist", pair, trades_per_s=trades_per_s)

    def begin_archive(self) -> signal.Signals:
        """Begin a new archive in the place of the one at hand."""
        self.kill_backfill()
        self.archives.append(self.folder / f"data-{len(self.archives) + 1}")
        return signal.SIGKILL

    async def soak(self, *, minutes: float, moments: int) -> bool:
        """Run, and print what came of it; tell whether all is as it must be."""
        self.start()
        try:
            await wait(self, 3.0)
            until_s = time.monotonic() + minutes * 60
            each_s = minutes * 60 / moments
            self.due_s = [time.monotonic() + (n + self.random.random()) * each_s for n in range(moments)]
            while time.monotonic() < until_s:
                self.rough = not self.rough or until_s - time.monotonic() < SILENT_S
                if self.rough:
                    await self.stretch(min(until_s, time.monotonic() + self.random.uniform(*ROUGH_S)))
                    await self.dead_line()
                else:
                    await self.silent_pair()
            self.exchange.do("faults.release")
            self.exchange.do("throttle", None)
            self.exchange.do("freeze")
            made: Mapping[str, int] = self.exchange.do("last_ids")
            self.kill_backfill()
            await self.restart(signal.SIGTERM)
            await self.ends_well(made)
        finally:
            self.kill_backfill()
            if self.recorder is not None:
                self.recorder.close()
        self.exchange.close()
        return self.report_promises(read_truth(self.folder / "truth"), made)

    async def stretch(self, until_s: float) -> None:
        """Do one thing after the other."""
        while time.monotonic() < until_s:
            await self.act()
            await wait(self, self.random.uniform(*PAUSE_S))
            while self.due_s and self.due_s[0] <= time.monotonic():
                self.due_s.pop(0)
                await self.compare()

    async def compare(self) -> None:
        """Hold the metrics against the disk."""
        assert self.recorder is not None
        if self.backfill is not None or time.monotonic() - self.not_alone_s < 75:
            self.kill_backfill()
        frozen = self.random.random() < 0.85
        if frozen:
            self.exchange.do("freeze")
            await wait(self, self.random.uniform(0.3, 1.5))
        try:
            told = await Moments(self.recorder, self.port, self.data).compared()
        except Differs as error:
            if time.monotonic() - self.not_alone_s < 75:
                self.readings["under way"] += 1
            else:
                self.differing.append(str(error))
        except (OSError, KeyError):  # it starts
            self.readings["not up"] += 1
        else:
            self.readings["under way" if told is None else "equal"] += 1
            self.readings["lacking"] += told is not None and told.ids > 0
        finally:
            if frozen:
                self.exchange.do("thaw")

    async def dead_line(self) -> None:
        """Let the lines die, which still answer pings, and see when they are left."""
        try:
            self.exchange.do("faults.release")
            await wait(self, 6.0)
            self.exchange.do("deaden", self.exchange.pairs[0])
        except UsageError:  # none is open
            return
        died_us = time.time_ns() // 1000
        await wait(self, DEAD_S)
        left_us = [at_us for at_us, _, _ in await self.noted("stalled", died_us)]
        self.left_s.append((left_us[0] - died_us) / 1e6 if left_us else float("inf"))

    async def silent_pair(self) -> None:
        """Let one pair fall silent, and see when it is subscribed anew."""
        pair = self.exchange.pairs[0]
        self.exchange.do("faults.release")
        self.exchange.do("throttle", None)
        muted_s, muted_us = time.monotonic(), time.time_ns() // 1000
        self.exchange.do("faults.lines.muted.add", pair)
        await self.stretch(muted_s + SILENT_S)
        behind = [
            at_us for at_us, of, said in await self.noted("behind", muted_us) if of == pair and said["resubscribing"]
        ]
        took_s = (behind[0] - muted_us) / 1e6 if behind else float("inf")
        asked: list[LoggedRequest] = self.exchange.do("requests.to", "/0/public/Ticker")
        looks = [request for request in asked if muted_s + LAG_S < request.at_s <= muted_s + took_s]
        answered = sum(request.status == 200 and not refused(request) for request in looks)
        self.found_s.append((took_s, answered))
        self.exchange.do("faults.lines.muted.discard", pair)

    async def noted(self, kind: str, since_us: int) -> list[tuple[int, str | None, dict[str, object]]]:
        """Return what the archive has noted of a kind since then, once it is drained: when, of whom, and what."""
        await wait(self, DRAINED_S)
        query = f"SELECT epoch_us(time), pair, detail FROM events WHERE kind = '{kind}' ORDER BY time"
        return [(at, pair, json.loads(detail)) for at, pair, detail in rows(self.data, query) if at > since_us]

    async def ends_well(self, made: Mapping[str, int]) -> None:
        """Record every archive until it holds all that was made."""
        others = [self.on(data, "run", port=0) for data in self.archives[:-1]]
        frozen_s = time.monotonic()
        try:
            while not all(caught_up(data, made) for data in self.archives) and time.monotonic() - frozen_s < PATIENCE_S:
                await wait(self, 2.0)
            print(f"all faults over, all held after {time.monotonic() - frozen_s:.0f} s")
            for process in (*others, self.recorder):
                assert process is not None
                process.signal(signal.SIGTERM)
                if (code := await process.ended()) != 0:
                    print(f"a recorder exits {code}:\n{process.said}")
        finally:
            for process in others:
                process.close()

    def report_promises(self, truth: Truth, made: Mapping[str, int]) -> bool:
        """Print what came of it."""
        fine = not self.differing
        print("acts               ", ", ".join(f"{name} {count}" for name, count in sorted(self.done.items())))
        for data in self.archives:
            fine &= _kept(data, truth, made)
        print(f"moments             {self.readings}; memory and disk differed {len(self.differing)} times")
        for sentence in self.differing[:3]:
            print("  ", sentence[:1000])
        print("dead lines left     after", ", ".join(f"{left:.1f} s" for left in sorted(self.left_s)))
        print("silent pair renewed after", ", ".join(f"{took:.0f} s ({looks} looks)" for took, looks in self.found_s))
        print(f"restarts            {self.done['kill'] + self.done['stop']}, archives {len(self.archives)}")
        return fine and all(left <= DEAD_S for left in self.left_s) and all(looks <= LOOKS for _, looks in self.found_s)


def _kept(data: Path, truth: Truth, made: Mapping[str, int]) -> bool:
    """Print what one archive lost from its promises on; tell whether it kept them."""
    layout = Layout(data)
    told = stored_evidence.read(layout)
    firsts: dict[str, int] = {}
    wrong: list[str] = []
    for pair in made:
        promise = told.promise(pair)
        if promise is None or promise.after_id is None:
            wrong.append(f"{pair} has no promise, or no anchor")
            continue
        firsts[pair] = promise.after_id + 1
        ordinary = _times_us(truth, pair)
        too_high = [one for one in ordinary if one <= promise.after_id and ordinary[one] >= promise.time_us]
        if too_high:
            wrong.append(f"{pair} was promised from {promise.time_us} on and lacks {too_high[0]}")
    verdict = compare(
        (row for pair in layout.pairs() for row in read_trades.trades(layout, pair)), truth, first_ids=firsts
    )
    holes = sum(len(pair.holes) for pair in archive_status.read(data))
    print(f"{data.name:20}{verdict.rows:,} rows; lost/duplicated/altered from the promise on  "
          f"{verdict.lost} / {verdict.duplicated} / {verdict.altered}; holes open {holes}")  # fmt: skip
    for sentence in (*wrong, *verdict.examples):
        print("  ", sentence)
    return verdict.perfect and not holes and not wrong


def _times_us(truth: Truth, pair: str) -> dict[int, int]:
    """Return when trades were made by their stamps, but for odd ones."""
    now_us = time.time_ns() // 1000
    stamped = {one: trade.time_ns // 1000 for one, trade in truth.get(pair, {}).items()}
    return {one: time_us for one, time_us in stamped.items() if abs(time_us - now_us) < 900 * ODD_DAY_US}
