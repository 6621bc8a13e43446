"""scikit-learn estimators and pipelines, and the models of XGBoost and LightGBM that behave like them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.features import DType
from trimtab.conversion.adapted import adapted, parts_of
from trimtab.conversion.chaining import chained
from trimtab.conversion.class_names import chosen_classes, class_codes, class_name
from trimtab.conversion.errors import NotConvertible
from trimtab.conversion.libraries import REFUSALS, need, plain_parameters, quiet, refused
from trimtab.conversion.proof import clear_winners
from trimtab.conversion.sample import Sample
from trimtab.conversion.skl2onnx_help import to_onnx
from trimtab.conversion.subject import About, Answers, Draft, Outputs, Slot

THRESHOLDS = ("sklearn.tree", "sklearn.ensemble", "xgboost", "lightgbm")
"""Modules of models with trees in them."""
PACKAGES = {"xgboost": "xgboost", "lightgbm": "lightgbm", "sklearn": "scikit-learn"}
FILLERS = ("", "(missing)", "\x1fmissing")
"""What may stand for a missing string in the graph: the first that is no category."""


class SklearnModel:
    """A fitted classifier or regressor with scikit-learn's interface."""

    def __init__(self, model: Any, classes: Sequence[Any] | None) -> None:
        base = need("sklearn.base")
        validation = need("sklearn.utils.validation")
        self._model = model
        package = next(
            (name for kind in type(model).__mro__ if (name := kind.__module__.partition(".")[0]) in PACKAGES), "sklearn"
        )
        with quiet():
            self.about = About(
                PACKAGES[package],
                str(need(package).__version__),
                plain_parameters(model.get_params()),
            )
            try:
                validation.check_is_fitted(model)
            except need("sklearn.exceptions").NotFittedError as error:
                raise NotConvertible(f"the {type(model).__name__} is not fitted: call fit() first") from error
            is_classifier, is_regressor = base.is_classifier(model), base.is_regressor(model)
        if not is_classifier and not is_regressor:
            raise NotConvertible(
                f"{type(model).__name__} is neither a classifier nor a regressor: what it answers has no meaning to "
                "the platform; register an ONNX file with a signature of its own instead"
            )
        labels = model.classes_ if is_classifier else ()
        if is_classifier and (isinstance(labels, list) or getattr(labels, "ndim", 1) != 1):
            raise NotConvertible("the classifier predicts several labels a row: register one model for each of them")
        self._label_keys = tuple(_label_key(label) for label in labels)
        self.own_classes = tuple(map(class_name, labels)) if is_classifier else None
        self.classes = chosen_classes(labels, classes) if is_classifier else None
        if classes is not None and not is_classifier:
            raise NotConvertible(f"{type(model).__name__} is a regression model: leave `classes` out")
        names = getattr(model, "feature_names_in_", None)
        self.feature_names: Sequence[str] | None = None if names is None else [str(name) for name in names]

    def answers(self, sample: Sample) -> Answers:
        """See `Subject.answers`."""
        with quiet():
            try:
                said = self._model.predict(sample.native)
                probabilities = self._model.predict_proba(sample.native) if self._has_probabilities() else None
            except REFUSALS as error:
                raise refused(_untaken(sample), error) from error
        if np.ndim(said) != 1:
            if np.ndim(said) == 2 and np.shape(said)[1] == 1:
                said = np.reshape(said, -1)
            else:
                raise NotConvertible(
                    f"the model predicts {np.shape(said)[1:]} values a row: register one model for each"
                )
        if self.own_classes is None:
            return Answers(values=_finite(np.asarray(said, np.float64), sample))
        codes = class_codes(said.tolist(), self.own_classes)
        if probabilities is None:
            return Answers(codes=codes)
        known = _finite(np.asarray(probabilities, np.float64), sample)
        contradicted = (known.argmax(axis=1) != codes) & clear_winners(known)
        return Answers(codes=codes, probabilities=None if contradicted.any() else known)

    def drafts(self, sample: Sample) -> Iterator[Draft]:
        """See `Subject.drafts`.

        A pipeline is prepared in float64. What answers then takes float64 where its trees compare in it, else float32,
        as it does in scikit-learn. Models without thresholds are tried all in float32 first. Each of these with the
        whole numbers as they are, and again with floats in their place.
        """
        texts = [column for column in sample.columns if column.dtype is DType.STRING]
        filler = self._filler([value for column in texts for value in column.values])
        twin = adapted(_chosen(self._model), filler)
        apart = bool(texts) or any(type(part).__name__ == "ColumnTransformer" for part in parts_of(twin))
        problem: NotConvertible | None = None
        made = 0
        for final in _precisions(twin):
            for slots in _layouts(sample, apart, final is not None):
                try:
                    graph = _converted(twin, slots, final)
                except NotConvertible as error:
                    problem = error
                    continue
                made += 1
                yield Draft(graph, slots, self._outputs(graph), filler, wide=final is not None)
        if problem is not None and not made:
            raise problem

    def _has_probabilities(self) -> bool:
        return self.own_classes is not None and hasattr(self._model, "predict_proba")

    def _outputs(self, graph: Any) -> Outputs:
        names = [value.name for value in graph.graph.output]
        if self.own_classes is None:
            return Outputs(value=names[0])
        probabilities = names[1] if len(names) > 1 and self._has_probabilities() else None
        return Outputs(probabilities=probabilities, label=names[0], label_keys=self._label_keys)

    def _filler(self, values: Sequence[Any]) -> str:
        known = {value for value in values if value is not None}
        for part in parts_of(self._model):
            for categories in getattr(part, "categories_", ()):
                known.update(value for value in categories if isinstance(value, str))
        return next(filler for filler in FILLERS if filler not in known)


def _chosen(model: Any) -> Any:
    """The estimator that a search has found best; any other model as it is."""
    return _chosen(model.best_estimator_) if hasattr(model, "best_estimator_") else model


def _is_pipeline(model: Any) -> bool:
    return type(model).__name__ == "Pipeline" and len(model.steps) > 1


def _precisions(model: Any) -> list[DType | None]:
    """What the answering step takes, behind a preparation in float64, in the order to be tried; None: all float32."""
    modules = {(type(part).__module__, type(part).__name__) for part in parts_of(model)}
    exact = any(module.startswith("lightgbm") or "HistGradientBoosting" in name for module, name in modules)
    has_thresholds = any(module.startswith(THRESHOLDS) for module, _ in modules)
    wide: list[DType | None] = [DType.FLOAT64] if exact else []
    if _is_pipeline(model):
        wide.append(DType.FLOAT32)
    return [*wide, None] if has_thresholds else [None, *wide]


def _layouts(sample: Sample, apart: bool, wide: bool) -> list[tuple[Slot, ...]]:
    """The inputs to convert for: one matrix, or one column a feature when they are treated `apart`."""
    number = DType.FLOAT64 if wide else DType.FLOAT32
    if not apart:
        return [(Slot(sample.names, number),)]
    natural = {column.name: number if column.dtype.is_float else column.dtype for column in sample.columns}
    floats = {name: dtype if dtype is DType.STRING else number for name, dtype in natural.items()}
    different = [natural] if natural == floats else [natural, floats]
    return [tuple(Slot((name,), dtype) for name, dtype in dtypes.items()) for dtypes in different]


def _converted(model: Any, slots: Sequence[Slot], final: DType | None) -> Any:
    inputs = [(slot.features[0], slot.dtype, len(slot.features)) for slot in slots]
    if final is None or not _is_pipeline(model):
        return to_onnx(model, inputs)
    answering = model.steps[-1][1]
    preparation = to_onnx(type(model)(model.steps[:-1]), inputs)
    return chained(preparation, to_onnx(answering, [("X", final, int(answering.n_features_in_))]), final)


def _label_key(label: Any) -> int | str:
    """What the converter's label output says for one of the model's classes."""
    return str(label) if isinstance(label, str) else int(label)


def _finite(answered: NDArray[np.float64], sample: Sample) -> NDArray[np.float64]:
    if not np.isfinite(answered).all():
        lacking = [column.name for column in sample.columns if column.missing.any()]
        cause = f"; the sample lacks values of {', '.join(lacking[:5])}: impute them in the model" if lacking else ""
        raise NotConvertible(f"the model answers NaN or infinity to rows of the sample{cause}")
    return answered


def _untaken(sample: Sample) -> str:
    lacking = [column.name for column in sample.columns if column.missing.any()]
    hint = f" (it has missing values in {', '.join(lacking[:5])}: impute them in a Pipeline)" if lacking else ""
    return f"the model does not take the sample{hint}; give it the columns that the model was fitted on"
