"""The cycle as a state machine: which step may follow which. Pure."""

from schemas.events import LoopStep

FINAL = frozenset({LoopStep.PROMOTED, LoopStep.REJECTED, LoopStep.ROLLED_BACK, LoopStep.SUPERSEDED, LoopStep.FAILED})
"""Steps that end a cycle."""

FOLLOWING: dict[LoopStep, frozenset[LoopStep]] = {
    LoopStep.NOTICED: frozenset({LoopStep.GATHERING, LoopStep.FAILED}),
    LoopStep.GATHERING: frozenset({LoopStep.TRAINING, LoopStep.FAILED}),
    LoopStep.TRAINING: frozenset({LoopStep.PROVING, LoopStep.FAILED}),
    LoopStep.PROVING: frozenset(
        {LoopStep.CANARY, LoopStep.REJECTED, LoopStep.ROLLED_BACK, LoopStep.SUPERSEDED, LoopStep.FAILED}
    ),
    LoopStep.CANARY: frozenset({LoopStep.ROLLING_OUT, LoopStep.ROLLED_BACK, LoopStep.SUPERSEDED}),
    LoopStep.ROLLING_OUT: frozenset({LoopStep.PROMOTED, LoopStep.ROLLED_BACK, LoopStep.SUPERSEDED}),
    **{step: frozenset() for step in FINAL},
}


def may_follow(current: LoopStep, following: LoopStep) -> bool:
    """Whether a cycle at `current` may step to `following`."""
    return following in FOLLOWING[current]
