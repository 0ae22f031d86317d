"""Which messages of a book are kept: compared with a replay one by one, however the rows are cut."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from recorder.exports.book_stream import BookStream

DAY_US = 86_400_000_000
Message = tuple[int, int, bool, int]
"""Session, message, whether it is a whole book, and the day of its receipt."""


def plainly(messages: list[Message], refuted: set[tuple[int, int]]) -> list[str]:
    """Return of each message whether it is left out, kept, or replaces what was before, one after the other."""
    found, known, last, whole_day = [], False, (-1, -1), -1
    for session, message, whole, day in messages:
        known &= (session, message) == (last[0], last[1] + 1)
        last = session, message
        if (session, message) in refuted:
            known = False
            found.append("out")
        elif whole:
            replaces = not known or day > whole_day or message == 0
            found.append("replaces" if replaces else "out")
            known, whole_day = True, day
        else:
            found.append("kept" if known else "out")
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_replay_gets_a_whole_book_first_and_after_each_gap(seed: int) -> None:
    random = Random(seed)
    messages: list[Message] = []
    day = 1
    for session in range(1, 5):
        for message in range(25):
            day += random.random() < 0.05
            if random.random() > 0.1:
                messages.append((session, message, message == 0 or random.random() < 0.2, day))
    refuted = {messages[random.randrange(len(messages))][:2] for _ in range(2)}
    stream, at = BookStream(refuted), 0
    found: list[str] = []
    while at < len(messages):
        size = random.randint(1, 30)
        rows = [one for one in messages[at : at + size] for _ in range(one[1] % 3 + 1)]
        sessions, numbers, days = (np.array([row[n] for row in rows], np.int64) for n in (0, 1, 3))
        wholes = np.array([row[2] for row in rows], bool)
        kept, replaces = stream.choose(sessions, numbers, wholes, days * DAY_US)
        told = ["replaces" if new else "kept" if there else "out" for there, new in zip(kept, replaces, strict=True)]
        found += dict(zip([row[:2] for row in rows], told, strict=True)).values()
        at += size
    assert found == plainly(messages, refuted)
    assert {"out", "kept", "replaces"} == set(found)
