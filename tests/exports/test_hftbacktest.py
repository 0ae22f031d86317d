from __future__ import annotations

from random import Random

import numpy as np

from recorder.exports import hftbacktest
from recorder.exports.hftbacktest import ordered

EXCHANGE, LOCAL = 1 << 31, 1 << 30


def test_each_event_is_seen_once_by_each_in_the_order_of_its_clock() -> None:
    random = Random(5)
    events = np.zeros(500, hftbacktest._EVENT)
    events["exch_ts"] = sorted(random.randrange(1_000) for _ in range(500))
    events["local_ts"] = events["exch_ts"] + [random.randrange(30) for _ in range(500)]
    events["qty"] = np.arange(500)
    found = ordered(events)
    for flag, name in ((EXCHANGE, "exch_ts"), (LOCAL, "local_ts")):
        seen = found[found["ev"] & flag != 0]
        assert (np.diff(seen[name]) >= 0).all()
        assert seen["qty"].tolist() == events[np.argsort(events[name], kind="stable")]["qty"].tolist()
    assert 500 < len(found) < 1_000
    quiet = events.copy()
    quiet["local_ts"] = quiet["exch_ts"] + 7
    assert (ordered(quiet)["ev"] == EXCHANGE | LOCAL).all()
    assert len(ordered(quiet)) == 500
