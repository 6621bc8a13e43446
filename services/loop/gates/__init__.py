"""Gates: pure decisions, each with the numbers and the words behind it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's answer. `passed` is None while there is not enough to judge by."""

    passed: bool | None
    explanation: str
    facts: dict[str, float] = field(default_factory=dict)
