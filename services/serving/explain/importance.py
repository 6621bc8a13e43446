"""Global importance: how much each feature moves a version's answers, over a fixed part of its baseline sample. Pure.

For a row with contributions `phi[i, k]` of feature `i` to output `k`, the feature moved

    m_i = sum over k of |phi[i, k]| / 2        (several classes), or |phi[i]| (one output)

which for probabilities is the mass that it moved from class to class: the contributions of one feature to all classes
sum to 0, so half of their size went each way; with two classes it is |phi| of either. The importance is the mean of
`m_i` over the rows, its standard error `sd(m_i) / sqrt(rows)`. That of permutation estimates is slightly too high for
features that matter little, since the absolute value of noise is not 0.

Source: Lundberg et al., "From local explanations to global understanding with explainable AI for trees" (Nature
Machine Intelligence, 2020), mean |SHAP value| as a global importance.
"""

import hashlib
import json
from typing import Literal

import numpy as np
from pydantic import ValidationError

from schemas.base import Document
from services.serving.explain.wire import Attributed

PREFIX = "importance"
"""The folder of the artifact store that holds importances, `importance/<manifest digest>/<method>-<plan>.json`. The
registry's garbage collection looks at `models/` and `blobs/` alone; a backup takes it along."""
FORMAT = 1
"""Raise it when the same plan comes to mean something else: what was computed before is not read then."""
MOST_NAMED_OUTPUTS = 20
"""With more classes than this, importance is not told by class."""


class Plan(Document):
    """Everything that decides the result beside the version. `samples` None: the method's
    own number for such means."""

    method: Literal["shapley"] = "shapley"
    rows: int
    background_rows: int
    samples: int | None = None
    seed: int = 0

    def digest(self) -> str:
        """16 hexadecimal digits that tell plans, and formats, apart."""
        text = json.dumps([FORMAT, self.model_dump(mode="json")], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def key(self, manifest_digest: str) -> str:
        """Where the store keeps the result for a version.

        >>> Plan(rows=200, background_rows=50).key("ab" * 32).startswith("importance/abab")
        True
        """
        return f"{PREFIX}/{manifest_digest}/{self.method}-{self.digest()}.json"


class FeatureImportance(Document):
    """`importance` is the mean of what the feature moved, `by_class` the mean size of its contribution to each."""

    feature: str
    importance: float
    standard_error: float
    by_class: dict[str, float] | None = None


class Importance(Document):
    """A version's global importance: its features by importance, the greatest first."""

    manifest_digest: str
    plan: Plan
    algorithm: str
    rows: int
    background_rows: int
    seconds: float
    features: list[FeatureImportance]


class Sums:
    """Pieces of one computation, added up in the order of the rows."""

    def __init__(self) -> None:
        self._pieces: list[Attributed] = []
        self.rows = 0
        """Rows that are done."""
        self.total: int | None = None
        """Rows that are to do; None before the first piece."""

    @property
    def done(self) -> bool:
        """Whether every row is in."""
        return self.total is not None and self.rows >= self.total

    def add(self, piece: Attributed) -> None:
        """The next rows."""
        self._pieces.append(piece)
        self.rows += len(piece.moved)
        self.total = piece.rows

    def importance(self, manifest_digest: str, plan: Plan, seconds: float) -> Importance:
        """The result. At least one row must be in."""
        first = self._pieces[0]
        moved = np.array([row for piece in self._pieces for row in piece.moved])
        by_output = np.sum([piece.by_output for piece in self._pieces], axis=0) / len(moved)
        mean = moved.mean(axis=0)
        error = moved.std(axis=0, ddof=1) / len(moved) ** 0.5 if len(moved) > 1 else np.zeros_like(mean)
        named = 1 < len(first.outputs) <= MOST_NAMED_OUTPUTS
        algorithms = {piece.algorithm for piece in self._pieces}
        return Importance(
            manifest_digest=manifest_digest,
            plan=plan,
            algorithm=algorithms.pop() if len(algorithms) == 1 else "mixed",
            rows=len(moved),
            background_rows=first.background_rows,
            seconds=seconds,
            features=[
                FeatureImportance(
                    feature=first.features[i],
                    importance=float(mean[i]),
                    standard_error=float(error[i]),
                    by_class=dict(zip(first.outputs, by_output[:, i].tolist(), strict=True)) if named else None,
                )
                for i in np.argsort(-mean, kind="stable")
            ],
        )


def read_importance(data: bytes, manifest_digest: str, plan: Plan) -> Importance | None:
    """The importance in stored bytes; None when they are damaged or of another version or plan."""
    try:
        found = Importance.model_validate_json(data)
    except ValidationError:
        return None
    return found if (found.manifest_digest, found.plan) == (manifest_digest, plan) else None
