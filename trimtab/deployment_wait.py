"""Waiting until a deployment is what answers."""

import time
from typing import Any

from trimtab.errors import Unavailable, Unfinished


class DeploymentWait:
    """The patience of one `wait_deployed`, the same for both clients: `timeout_seconds`, silences included."""

    def __init__(self, model_id: str, timeout_seconds: float) -> None:
        self._model_id = model_id
        self._timeout_seconds = timeout_seconds
        self._began = time.monotonic()

    def served(self, deployment: dict[str, Any]) -> bool:
        """Take an answer; whether every replica serves what is wanted.

        Raises `Unfinished`: a replica can't load the version, or the time is over.
        """
        if deployment["converged"]:
            return True
        for replica in deployment["replicas"]:
            if replica["state"] == "failed":
                failed = next(version for version in replica["versions"] if version["state"] == "failed")
                raise Unfinished(
                    f"{replica['replica']} can't load {self._model_id} {failed['version']}: {failed['detail']}"
                )
        if time.monotonic() - self._began > self._timeout_seconds:
            states = ", ".join(f"{replica['replica']} is {replica['state']}" for replica in deployment["replicas"])
            raise Unfinished(
                f"revision {deployment['revision']} of {self._model_id} is not served after "
                f"{self._timeout_seconds:g} s: {states or 'no replica has been heard of'}"
            )
        return False

    def unanswered(self, error: Unavailable) -> None:
        """Take a failed question. Raises `Unavailable` naming the model when the time is over."""
        if time.monotonic() - self._began > self._timeout_seconds:
            raise Unavailable(f"no word of the deployment of {self._model_id}: {error.detail}") from error
