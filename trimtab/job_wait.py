"""Waiting for a job through restarts of the server: how long for the job, how long without an answer."""

import time
from typing import Any

from trimtab.errors import Unavailable, Unfinished

ENDED = ("succeeded", "failed", "cancelled")
"""States in which a training job stays."""


class JobWait:
    """The patience of one `wait_job`, the same for both clients.

    Args:
        job_id: the job.
        timeout_seconds: how long it may take to end.
        outage_seconds: how long the server may be unreachable or answer 503 meanwhile, at a stretch.
    """

    def __init__(self, job_id: str, timeout_seconds: float, outage_seconds: float) -> None:
        self._job_id = job_id
        self._timeout_seconds = timeout_seconds
        self._outage_seconds = outage_seconds
        self._began = time.monotonic()
        self._silent_since: float | None = None

    def ended(self, job: dict[str, Any]) -> bool:
        """Take an answer; whether it is the last. Raises `Unfinished` when the time is over."""
        self._silent_since = None
        if job["state"] in ENDED:
            return True
        if time.monotonic() - self._began > self._timeout_seconds:
            raise Unfinished(f"the job {self._job_id} is still {job['state']} after {self._timeout_seconds:g} s")
        return False

    def unanswered(self, error: Unavailable) -> None:
        """Take a failed question. Raises `Unavailable` naming the job when the silence or the wait was too long."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        silent = now - self._silent_since
        if silent >= self._outage_seconds or now - self._began > self._timeout_seconds:
            raise Unavailable(
                f"no word of the job {self._job_id} for {silent:.0f} s, it may go on by itself: {error.detail}",
                job_id=self._job_id,
            ) from error
