"""A copy of a fitted scikit-learn model in words that its converter knows; what it predicts stays the same.

The converter (skl2onnx 1.20) has no word for a missing string and refuses a few settings that have no effect on
predictions. The model itself is never touched.
"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np


def adapted(model: Any, filler: str) -> Any:
    """A deep copy of `model` that takes `filler` for a missing string."""
    twin = copy.deepcopy(model)
    for part in list(parts_of(twin)):
        kinds = {kind.__name__ for kind in type(part).__mro__}
        if "SimpleImputer" in kinds and getattr(part, "statistics_", np.empty(0)).dtype.kind in "OU":
            if not isinstance(part.missing_values, str):
                part.missing_values = filler
        elif kinds & {"OneHotEncoder", "OrdinalEncoder"} and hasattr(part, "categories_"):
            part.categories_ = [_filled(categories, filler) for categories in part.categories_]
        elif "VotingClassifier" in kinds:
            part.flatten_transform = False
        elif "XGBModel" in kinds and hasattr(part, "_Booster"):
            adapt_booster(part)
    return twin


def parts_of(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Every fitted estimator in `value`, itself included."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        for item in value.values():
            yield from parts_of(item, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from parts_of(item, seen)
    elif hasattr(value, "get_params") and not isinstance(value, type):
        yield value
        yield from parts_of(vars(value), seen)


def adapt_booster(model: Any) -> None:
    """Let the XGBoost estimator `model` hold only the trees that it predicts with, and no names of columns."""
    booster = model.get_booster()
    best = booster.attr("best_iteration")
    if best is not None:
        booster = booster[: int(best) + 1]
        booster.set_attr(best_iteration=None, best_score=None)
        model.n_estimators = int(best) + 1
    booster.feature_names = None
    model._Booster = booster


def _filled(categories: Any, filler: str) -> Any:
    if categories.dtype.kind != "O":
        return categories
    named = [filler if value is None or value != value else value for value in categories]
    return np.array(named, dtype=object)
