"""What goes wrong in a simulated hour of market data, whatever is recorded: by the seed, again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Final, TypeAlias

from tests.end_to_end.fault_bench import Bench

APART_S: Final = (1.0, 20.0)
"""The time between two faults, at least and at most."""

Kinds: TypeAlias = Mapping[str, Callable[[], object]]
"""What each kind of fault does."""


def of_connections(bench: Bench, random: Random) -> Kinds:
    """Return the faults of frames and connections, which every recorder must survive."""
    faults = bench.sandbox.faults
    return {
        "drop": lambda: faults.throw("drop", n=random.randrange(1, 20)),
        "duplicate": lambda: faults.throw("duplicate", n=random.randrange(1, 20)),
        "reorder": lambda: faults.throw("reorder", n=random.randrange(2, 20)),
        "torn": lambda: faults.throw("torn", n=random.randrange(1, 5)),
        "late": lambda: faults.throw("late", 2.0),
        "disconnect": faults.disconnect,
        "stall": lambda: faults.throw("stall"),
        "outage": lambda: faults.outage(random.expovariate(0.1)),
    }


async def disturbed(bench: Bench, kinds: Kinds, random: Random, until_s: float) -> Counter[str]:
    """Let time pass with faults; return how many of each kind there were."""
    done: Counter[str] = Counter()
    while bench.clock.monotonic() < until_s:
        await bench.clock.passed(random.uniform(*APART_S))
        kind = random.choice(list(kinds))
        kinds[kind]()
        done[kind] += 1
    return done
