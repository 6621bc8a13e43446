"""The rules by which versions of a model move between stages. Pure: no I/O.

A policy is a document of its own, revisioned; a model without one follows the default, and without a default the
built-in one, `Policy()`, which asks for nothing but `changes`.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import Name, StrictDocument
from schemas.events import Stage
from services.registry.words import Words

GatedStage = Literal[Stage.STAGING, Stage.PRODUCTION]
"""A stage that a version is promoted to."""


class StagePolicy(StrictDocument):
    """What must hold before a version moves to one stage.

    `approvals`: how many people must have approved. `four_eyes`: whoever registered the version, or asked for its
    training or for the approval, does not count. `required_checks`: the latest result of each must have passed;
    whoever may write records them, the author too. `require_signature`: at least one valid signature, of one of
    `signers` if any are named. `compliance`: every control that gates the stage is met or waived, and there is one.
    `require_changes`: a version with a parent says what is different from it.
    """

    approvals: int = Field(default=0, ge=0, le=100)
    four_eyes: bool = False
    required_checks: tuple[Name, ...] = Field(default=(), max_length=100)
    require_signature: bool = False
    signers: tuple[Words, ...] = Field(default=(), max_length=100)
    compliance: bool = False
    require_changes: bool = True

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.four_eyes and not self.approvals:
            raise ValueError("four_eyes says whose approval counts: ask for at least one with `approvals`")
        if self.signers and not self.require_signature:
            raise ValueError("signers are named, but no signature is required: set `require_signature`")
        return self


class Retention(StrictDocument):
    """When the bytes of archived versions are given up; the records stay for ever. Without days: never.

    The newest `keep_newest` archived versions keep their bytes however old they are.
    """

    drop_archived_bytes_after_days: int | None = Field(default=None, ge=0, le=36_500)
    keep_newest: int = Field(default=1, ge=0, le=100_000)


class Policy(StrictDocument):
    """The whole policy of a model. `former` is where the version goes that leaves production."""

    staging: StagePolicy = StagePolicy()
    production: StagePolicy = StagePolicy()
    former: Literal["archive", "staging"] = "archive"
    retention: Retention = Retention()

    def of(self, stage: Stage) -> StagePolicy:
        """What must hold before a version moves to `stage`, which is staging or production."""
        return self.production if stage is Stage.PRODUCTION else self.staging

    @property
    def needs_names(self) -> bool:
        """Whether it tells people apart, which only keys can do."""
        return any(each.four_eyes or each.approvals > 1 for each in (self.staging, self.production))
