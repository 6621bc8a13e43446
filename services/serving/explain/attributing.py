"""Jobs of the child, answered: rows explained, or rows of the baseline sample attributed for the global importance."""

import math
from typing import Any

import numpy as np

from services.kernel.errors import InvalidInput, TooLarge
from services.serving.explain.method import Attribution, Method
from services.serving.explain.subject import BACKGROUND_SEED, Subject
from services.serving.explain.wire import (
    Attributed,
    Contribution,
    Explained,
    ExplainJob,
    Explanations,
    ImportanceJob,
)


def explain(subject: Subject, method: Method, job: ExplainJob) -> Explanations:
    """Explain every row of `job`. Raises `InvalidInput` (the class, the samples), `TooLarge`, `RuntimeFailed`."""
    classes = subject.outputs.classes
    if job.target is not None and classes is None:
        raise InvalidInput("class: this model predicts a number, not a class")
    if job.target is not None and classes is not None and job.target not in classes:
        raise InvalidInput(f"class: {job.target[:100]!r} is none of {', '.join(map(repr, classes[:20]))}")
    references = None if method.whole_sample else subject.drawn(job.background_rows, BACKGROUND_SEED)
    count = subject.sample_rows if references is None else len(references)
    samples = method.default_samples(len(subject.elements)) if job.samples is None else job.samples
    asked = method.evaluations(samples, count) * len(job.rows)
    if asked > job.evaluations:
        raise TooLarge(
            f"{len(job.rows)} rows with {samples} samples and {count} reference rows ask the model {asked:,} times; "
            f"at most {job.evaluations:,}: send fewer rows or samples (TRIMTAB_SERVING_EXPLAIN_EVALUATIONS)"
        )
    explained = []
    for row in job.rows:
        asked_of = _Row(subject, subject.values_of(row), job.target)
        game = subject.game(asked_of.values, references).of(asked_of.output)
        explained.append(asked_of.told(method.attribute(game, samples, job.seed)))
    return Explanations(subject.kind, count, explained)


def attribute_sample(subject: Subject, method: Method, job: ImportanceJob) -> Attributed:
    """Attribute all outputs for a part of the drawn rows of the sample. Raises `InvalidInput` and `RuntimeFailed`."""
    references = None if method.whole_sample else subject.drawn(job.background_rows, BACKGROUND_SEED)
    count = subject.sample_rows if references is None else len(references)
    samples = method.rough_samples(len(subject.elements)) if job.samples is None else job.samples
    places = subject.drawn(job.rows, job.seed)
    by_output = np.zeros((len(subject.output_names), len(subject.elements)))
    moved: list[list[float]] = []
    algorithm = ""
    for place in places[job.start : job.stop]:
        game = subject.game(subject.values_at(int(place)), references)
        found = method.attribute(game, samples, job.seed)
        size = np.abs(found.values)
        by_output += size.T
        moved.append((size.sum(axis=1) / (2 if size.shape[1] > 1 else 1)).tolist())
        algorithm = found.algorithm if algorithm in ("", found.algorithm) else "mixed"
    names = [element.name for element in subject.elements]
    return Attributed(names, subject.output_names, len(places), count, algorithm, moved, by_output.tolist())


class _Row:
    """A row to explain: what is predicted for it, alone as it is served, and which output that makes the explained one.

    `target` None: that of the predicted class.
    """

    def __init__(self, subject: Subject, values: list[Any], target: str | None) -> None:
        self.values = values
        self._names = [element.name for element in subject.elements]
        columns = [np.array([value], dtype=column.dtype) for value, column in zip(values, subject.sample, strict=True)]
        meaning = subject.run(columns)
        classes = subject.outputs.classes
        self._prediction: str | float
        self._probabilities = None
        if classes is None:
            assert meaning.values is not None
            self._prediction = self._worth = float(meaning.values[0])
            self._target, self.output = None, 0
            return
        assert meaning.codes is not None
        self._prediction = classes[int(meaning.codes[0])]
        self._target = self._prediction if target is None else target
        self.output = classes.index(self._target)
        self._worth = float(self._prediction == self._target)
        if meaning.probabilities is not None:
            self._probabilities = dict(zip(classes, meaning.probabilities[0].tolist(), strict=True))
            self._worth = self._probabilities[self._target]

    def told(self, found: Attribution) -> Explained:
        """The explanation that `found`, of the one output, makes."""
        own, base = found.values[:, 0], float(found.base[0])
        order = np.argsort(-np.abs(own), kind="stable")
        return Explained(
            self._prediction,
            self._probabilities,
            self._target,
            base,
            self._worth,
            [Contribution(self._names[i], _told(self.values[i]), float(own[i])) for i in order],
            abs(base + math.fsum(own.tolist()) - self._worth),
            None if found.fidelity is None else float(found.fidelity[0]),
            found.algorithm,
            found.samples,
        )


def _told(value: Any) -> Any:
    """A value as JSON has it; None for a missing number."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain
