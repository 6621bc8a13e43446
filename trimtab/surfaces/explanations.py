"""Why a model answered as it did, and which features matter to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab import calls
from trimtab.surfaces.sender import Answer, Sender


class Explanations(Sender[Answer]):
    """The routes of explanations as methods."""

    def explain(
        self,
        model_id: str,
        input: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        version: str | None = None,
        method: str | None = None,
        target: str | None = None,
        samples: int | None = None,
        seed: int | None = None,
    ) -> Answer:
        """What each feature of a row adds to the answer: `{base_value, contributions, output, additivity_error, ...}`.

        `method`: `shapley` (the default) or `lime`; `target`: the class whose probability is explained, the predicted
        one by default. For a list of rows the answer is `{"explanations": [...]}`. The same seed gives the same answer.
        """
        return self.send(
            calls.explain(model_id, input, version, method=method, target=target, samples=samples, seed=seed)
        )

    def importance(self, model_id: str, version: str | None = None, *, limit: int | None = None) -> Answer:
        """Which features matter to a version: the mean size of their Shapley values, with a standard error.

        The first time it is computed; while `state` is `pending`, ask again.
        """
        return self.send(calls.importance(model_id, version, limit))

    def importance_trend(self, model_id: str, *, versions: int | None = None, limit: int | None = None) -> Answer:
        """The importance of each feature over a model's newest versions, the oldest of them first.

        What is not known yet is named as `pending`, and computed meanwhile.
        """
        return self.send(calls.importance_trend(model_id, versions, limit))
