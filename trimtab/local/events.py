"""What a local cluster tells whoever started it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["starting", "ready", "died", "stopped"]


@dataclass(frozen=True)
class ClusterEvent:
    """One step in the life of the broker (`part` "broker"), the topics ("topics"), the merged metrics
    ("metrics") or a service.

    `seconds` is how long the step took ("ready"), or the pause before the next start ("died").
    """

    kind: Kind
    part: str
    detail: str = ""
    seconds: float = 0.0


Listener = Callable[[ClusterEvent], None]
