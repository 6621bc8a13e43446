"""Copies of requests for the version that is being tried out beside the one that answers.

A copy is queued when the answer has left, and runs when its version has nothing else to do (see `queue.py` and
`batcher.py`). Its result is in the log under the route `shadow`, its failure is nobody's. What may wait is bounded by
rows; past that, copies are left out and counted.
"""

import asyncio
import os
import threading
import time
from concurrent.futures import Executor, ThreadPoolExecutor

from services.kernel.errors import TooLarge, TrimtabError, Unavailable
from services.kernel.telemetry import get_logger
from services.serving.catalog import Chosen
from services.serving.question import Question
from services.serving.queue import Priority
from services.serving.router import SHADOW
from services.serving.served import Answer, ServedVersion

log = get_logger(__name__)

DEFAULT_SHADOW_ROWS = 1024

_NICENESS = 10


class Shadows:
    """Lives on the event loop. `limit_rows`: rows that one version may have outstanding as a shadow.

    `skipped` counts requests that the shadow did not see.
    """

    def __init__(self, limit_rows: int = DEFAULT_SHADOW_ROWS) -> None:
        self.skipped = 0
        self._limit_rows = limit_rows
        self._futures: set[asyncio.Future[Answer]] = set()

    def cast(self, chosen: Chosen, version: str, question: Question) -> None:
        """Let `version` answer the question as well, for the log only."""
        shadow = chosen.deployed.versions.get(version)
        if shadow is None or shadow.signature.inputs != chosen.served.signature.inputs:
            self.skipped += 1
            return
        count = question.count
        if shadow.shadow_rows + count > self._limit_rows:
            self.skipped += 1
            return
        try:
            now = time.perf_counter()
            future = shadow.ask(count, question.rows, question.columns, SHADOW, now, Priority.SHADOW)
        except (Unavailable, TooLarge):
            self.skipped += 1
            return
        shadow.shadow_rows += count
        self._futures.add(future)
        future.add_done_callback(lambda done: self._done(done, shadow, count))

    def _done(self, future: "asyncio.Future[Answer]", shadow: ServedVersion, count: int) -> None:
        shadow.shadow_rows -= count
        self._futures.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            # not its detail, which may tell a value that the log hides
            log.debug("shadow_failed", error=error.code if isinstance(error, TrimtabError) else type(error).__name__)


def shadow_executor() -> Executor:
    """One thread for all shadows' longer runs; the system prefers every other thread of the process to it."""
    return ThreadPoolExecutor(1, thread_name_prefix="shadow", initializer=_step_back)


def _step_back() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)  # on Linux: of this thread alone
