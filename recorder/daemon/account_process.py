"""The process that records an account, as seen from the recorder.

A key that is refused is not tried again and again, which would lock the account out: the process is begun anew only
when the recorder is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import structlog

from recorder.config import Config
from recorder.core.backoff import GrowingDelay
from recorder.daemon.child_process import FIRST_S, LAST_S, WORKED_S, ChildProcess
from recorder.errors import ConfigError
from recorder.runtime.context import Context
from recorder.runtime.waiting import first_of

COMMAND: Final = (sys.executable, "-m", "recorder.account")

log = structlog.get_logger()


class AccountProcess(ChildProcess):
    """Runs the process while the configuration says that the account is recorded.

    Metrics show nothing of it: what concerns an account stays in its own folder.
    """

    name = "account"
    keeps_key = True

    def __init__(self, config: Config, context: Context, *, command: Sequence[str] = COMMAND) -> None:
        super().__init__(config, context, command=command)
        self._refused = False

    @property
    def about(self) -> dict[str, object]:
        """What the recorder itself knows of it, which is nothing of the account."""
        return {"running": self._pid is not None, "refused": self._refused, "ends": self._ends}

    @property
    def _configured(self) -> bool:
        return self._config.account.record

    def _log_end(self, **detail: object) -> None:
        log.error("the process that records the account ended", **detail)

    def _log_kill(self, *, after_s: float) -> None:
        log.warning("the process that records the account is killed: it did not end in time", after_s=after_s)

    async def run(self) -> None:
        """Run the process until :meth:`stop`, or until it ends because of its key or its configuration."""
        delay = GrowingDelay(FIRST_S, LAST_S)
        while self._wanted:
            started_s = self._clock.monotonic()
            code = await self._lifetime()
            if code is None or self._stopping:
                return
            if self._clock.monotonic() - started_s >= WORKED_S:
                delay.reset()
            retry_s = delay.failed()
            await self._report(code, retry_s)
            if code == ConfigError.exit_code:
                self._refused = True
                log.error("the account waits for the next start of the recorder", remedy="read the lines above")
                return
            await first_of(self._clock.sleep(retry_s), self._until(lambda: self._stopping))
