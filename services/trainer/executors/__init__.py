"""Where a job's child runs. One file an executor; `local` is a child process of the trainer.

An executor takes a prepared folder (`workspace`) and brings back how the child ended. It starts nothing at import.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.trainer.workspace import EpochReport


@dataclass(frozen=True)
class Exit:
    """How a child ended: its exit code (negative: the signal), its last words, and which limit it ran into."""

    code: int
    last_words: str = ""
    limit: str = ""


class Executor(Protocol):
    """Runs one child at a time for each call; calls may run beside each other."""

    async def run(self, folder: Path, on_epoch: Callable[[EpochReport], None]) -> Exit:
        """Train what lies in `folder`; `on_epoch` is called on the event loop. Cancelling the call kills the child
        and all its children before it returns."""
