"""Native boosters of XGBoost and LightGBM: no classes of their own, and an objective that says what they answer."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from schemas.features import DType
from trimtab.conversion.class_names import chosen_classes
from trimtab.conversion.errors import NotConvertible
from trimtab.conversion.joining import OPSET
from trimtab.conversion.libraries import REFUSALS, need, plain_parameters, quiet, refused
from trimtab.conversion.sample import Sample
from trimtab.conversion.skl2onnx_help import to_onnx
from trimtab.conversion.subject import About, Answers, Draft, Outputs, Slot

VALUES = ("reg:", "count:", "regression", "poisson", "gamma", "tweedie", "huber", "fair", "quantile", "mape")
"""How objectives begin that answer with one number a row."""


class _Booster:
    """What both have in common: one matrix in; a probability, a row of them, or a number out.

    `takes` is the type that its trees compare in.
    """

    takes: DType

    def __init__(self, about: About, objective: str, classes: int, given: Sequence[Any] | None, names: Any) -> None:
        self.about = about
        self.feature_names: Sequence[str] | None = list(names) if names else None
        self.own_classes: tuple[str, ...] | None = None
        if classes:
            self.own_classes = tuple(map(str, range(classes)))
        elif not objective.startswith(VALUES):
            raise NotConvertible(
                f"a booster with the objective {objective!r} answers neither probabilities nor a value: register an "
                "ONNX file with a signature of its own instead"
            )
        elif given is not None:
            raise NotConvertible(f"a booster with the objective {objective!r} has no classes: leave `classes` out")
        self.classes = chosen_classes(self.own_classes, given) if self.own_classes else None

    def answers(self, sample: Sample) -> Answers:
        """See `Subject.answers`."""
        with quiet():
            try:
                said = np.asarray(self._predict(sample.native), dtype=np.float64)
            except REFUSALS as error:
                raise refused("the booster does not take the sample", error) from error
        if self.classes is None:
            return Answers(values=said.reshape(-1))
        if said.ndim == 1 and len(self.classes) == 2:
            said = np.stack([1 - said, said], axis=1)
        if said.ndim == 1:
            return Answers(codes=said.astype(np.int64))
        return Answers(codes=said.argmax(axis=1), probabilities=said)

    def drafts(self, sample: Sample) -> Iterator[Draft]:
        """See `Subject.drafts`."""
        texts = [column.name for column in sample.columns if column.dtype is DType.STRING]
        if texts:
            raise NotConvertible(
                f"a booster takes numbers only, and {', '.join(texts[:5])} hold strings: encode them "
                "in a scikit-learn Pipeline with the booster as its last step"
            )
        with quiet():
            try:
                graph = self._convert(len(sample.names))
            except REFUSALS as error:
                raise refused("the booster can't be converted to ONNX", error) from error
        names = [value.name for value in graph.graph.output]
        outputs = Outputs(value=names[0])
        if self.classes is not None:
            outputs = Outputs(probabilities=names[1], label=names[0], label_keys=tuple(range(len(self.classes))))
        yield Draft(graph, (Slot(sample.names, self.takes),), outputs, wide=self.takes is DType.FLOAT64)

    def _predict(self, rows: Any) -> Any:
        raise NotImplementedError

    def _convert(self, width: int) -> Any:
        raise NotImplementedError


class XgboostBooster(_Booster):
    """An `xgboost.Booster`."""

    takes = DType.FLOAT32

    def __init__(self, booster: Any, classes: Sequence[Any] | None) -> None:
        self._xgboost = need("xgboost")
        self._booster = booster
        learner = json.loads(booster.save_config())["learner"]
        objective = str(learner["objective"]["name"])
        count = max(int(learner["learner_model_param"]["num_class"]), 2 if objective == "binary:logistic" else 0)
        about = About(
            "xgboost",
            str(self._xgboost.__version__),
            plain_parameters({"objective": objective, "rounds": booster.num_boosted_rounds()}),
        )
        super().__init__(about, objective, count, classes, booster.feature_names)

    def _predict(self, rows: Any) -> Any:
        names = None if hasattr(rows, "iloc") else self._booster.feature_names
        return self._booster.predict(self._xgboost.DMatrix(rows, feature_names=names))

    def _convert(self, width: int) -> Any:
        types = [("X", need("onnxmltools.convert.common.data_types").FloatTensorType([None, width]))]
        twin = self._booster[: self._booster.num_boosted_rounds()]
        twin.set_attr(best_iteration=None, best_score=None)
        twin.feature_names = None
        return need("onnxmltools").convert_xgboost(twin, initial_types=types, target_opset=OPSET)


class LightgbmBooster(_Booster):
    """A `lightgbm.Booster`."""

    takes = DType.FLOAT64

    def __init__(self, booster: Any, classes: Sequence[Any] | None) -> None:
        self._booster = booster
        objective, _, _ = str(booster.dump_model(num_iteration=1).get("objective", "none")).partition(" ")
        count = 2 if objective == "binary" else booster.num_model_per_iteration()
        about = About(
            "lightgbm",
            str(need("lightgbm").__version__),
            plain_parameters({"objective": objective, "rounds": booster.current_iteration(), **booster.params}),
        )
        super().__init__(about, objective, count if count > 1 else 0, classes, _given_names(booster))

    def _predict(self, rows: Any) -> Any:
        return self._booster.predict(rows)

    def _convert(self, width: int) -> Any:
        """Through the scikit-learn class, which a booster can be put into: only there the trees stay in float64."""
        lightgbm = need("lightgbm")
        twin = lightgbm.LGBMClassifier() if self.classes else lightgbm.LGBMRegressor()
        twin._Booster, twin._n_features, twin.fitted_ = self._booster, width, True
        twin._classes = np.arange(len(self.classes or ()))
        twin._n_classes = len(self.classes or ())
        return to_onnx(twin, [("X", DType.FLOAT64, width)])


def _given_names(booster: Any) -> Sequence[str] | None:
    """The columns' names, unless LightGBM only numbered them."""
    names = [str(name) for name in booster.feature_name()]
    return None if names == [f"Column_{place}" for place in range(len(names))] else names
