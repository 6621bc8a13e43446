"""XGBoost and LightGBM: their scikit-learn models, alone and in pipelines, and their native boosters."""

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from schemas.features import OutputRole
from tests.unit.trimtab.conversion.converting import version_of
from tests.unit.trimtab.conversion.people import income, people, wealth
from tests.unit.trimtab.conversion.test_sklearn import prepared
from trimtab.conversion.errors import Different, NotConvertible


def measured(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Numbers with one decimal and gaps: values of one sample lie just on the thresholds of another."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(20, 5, (rows, 3)).round(1), columns=["a", "b", "c"])
    frame.loc[frame.index % 9 == 0, "b"] = np.nan
    return frame


def truth(frame: pd.DataFrame, classes: int) -> Any:
    """Codes of `classes` classes."""
    total = frame["a"] + frame["b"].fillna(0) / 4
    return np.digitize(total, np.quantile(total, np.arange(1, classes) / classes))


def classifiers() -> list[Any]:
    """One of each kind."""
    return [
        xgboost.XGBClassifier(n_estimators=15),
        xgboost.XGBClassifier(n_estimators=15, tree_method="exact"),
        lightgbm.LGBMClassifier(n_estimators=15, verbose=-1),
        lightgbm.LGBMClassifier(n_estimators=15, verbose=-1, boosting_type="dart"),
    ]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("model", classifiers(), ids=lambda model: f"{type(model).__name__}")
def test_a_classifier_with_missing_values(model: Any, classes: int) -> None:
    model.fit(measured(), truth(measured(), classes))
    version = version_of(model, measured(200, seed=1), labels=truth(measured(200, seed=1), classes))
    fresh = measured(500, seed=2)
    assert np.abs(version.ask(fresh) - model.predict_proba(fresh)).max() < 1e-4
    assert [feature.nullable for feature in version.signature.inputs] == [False, True, False]
    assert version.metadata["framework"] == ("xgboost" if "XGB" in type(model).__name__ else "lightgbm")
    assert version.metadata["hyperparameters"]["n_estimators"] == 15
    assert 0.3 < version.metadata["metrics"]["accuracy"] <= 1


@pytest.mark.parametrize(
    "model",
    [
        xgboost.XGBRegressor(n_estimators=15),
        xgboost.XGBRegressor(n_estimators=15, objective="count:poisson"),
        lightgbm.LGBMRegressor(n_estimators=15, verbose=-1),
        lightgbm.LGBMRegressor(n_estimators=15, verbose=-1, objective="gamma"),
    ],
    ids=["xgb", "xgb poisson", "lgbm", "lgbm gamma"],
)
def test_a_regression_model(model: Any) -> None:
    model.fit(measured(), measured()["a"] * 7)
    version = version_of(model, measured(200, seed=1))
    fresh = measured(300, seed=2)
    assert version.ask(fresh)[:, 0] == pytest.approx(model.predict(fresh), rel=1e-4)
    assert version.signature.outputs[0].role is OutputRole.VALUE


@pytest.mark.parametrize("model", classifiers(), ids=lambda model: f"{type(model).__name__}")
def test_a_pipeline_that_ends_in_boosting(model: Any) -> None:
    codes = (wealth(people()) == "rich").astype(int)
    pipeline = prepared(model).fit(people(), codes)
    version = version_of(pipeline, people(200, seed=1), classes=["poor", "rich"])
    fresh = people(300, seed=2)
    assert np.abs(version.ask(fresh) - pipeline.predict_proba(fresh)).max() < 1e-4
    assert version.signature.classes == ("poor", "rich")
    assert version.metadata["framework"] == "scikit-learn"


def test_a_regression_pipeline_that_ends_in_boosting() -> None:
    pipeline = prepared(xgboost.XGBRegressor(n_estimators=10)).fit(people(), income(people()))
    version = version_of(pipeline, people(200, seed=1))
    fresh = people(200, seed=2)
    assert version.ask(fresh)[:, 0] == pytest.approx(pipeline.predict(fresh), rel=1e-4)


def test_early_stopping_keeps_the_trees_that_predict() -> None:
    model = xgboost.XGBClassifier(n_estimators=200, learning_rate=0.1, early_stopping_rounds=5)
    model.fit(
        measured(), truth(measured(), 3), eval_set=[(measured(seed=3), truth(measured(seed=3), 3))], verbose=False
    )
    assert model.best_iteration < 199
    version = version_of(model, measured(100, seed=1))
    assert np.abs(version.ask(measured(seed=2)) - model.predict_proba(measured(seed=2))).max() < 1e-4
    assert model.get_booster().feature_names == ["a", "b", "c"], "the model itself is left as it was"


def test_a_graph_that_answers_otherwise_is_not_let_through() -> None:
    model = xgboost.XGBRFClassifier(n_estimators=10).fit(measured(), truth(measured(), 3))
    with pytest.raises(Different, match=r"differs from the model in \d+ of 100 rows.*row 0: the model says \["):
        version_of(model, measured(100))


def booster(library: str, objective: str, classes: int = 0) -> Any:
    """A native booster with ten rounds."""
    parameters: dict[str, Any] = {"objective": objective, **({"num_class": classes} if classes > 2 else {})}
    labels = truth(measured(), classes) if classes else measured()["a"] * 7
    if library == "xgboost":
        return xgboost.train(parameters, xgboost.DMatrix(measured(), labels), 10)
    return lightgbm.train({**parameters, "verbose": -1}, lightgbm.Dataset(measured(), labels), 10)


@pytest.mark.parametrize(
    ("library", "objective", "classes"),
    [
        ("xgboost", "binary:logistic", 2),
        ("xgboost", "multi:softprob", 3),
        ("lightgbm", "binary", 2),
        ("lightgbm", "multiclass", 3),
    ],
)
def test_a_native_booster_that_classifies(library: str, objective: str, classes: int) -> None:
    model = booster(library, objective, classes)
    names = ["low", "mid", "high"][:classes]
    rows = measured(200, seed=1)
    version = version_of(model, rows, classes=names, labels=np.array(names)[truth(rows, classes)])
    said = model.predict(xgboost.DMatrix(rows)) if library == "xgboost" else model.predict(rows)
    own = said if said.ndim == 2 else np.stack([1 - said, said], axis=1)
    assert np.abs(version.ask(rows) - own).max() < 1e-4
    assert version.signature.classes == tuple(names)
    assert [feature.name for feature in version.signature.inputs] == ["a", "b", "c"]
    assert version.metadata["hyperparameters"]["objective"] == objective


def test_a_native_booster_that_says_only_the_class() -> None:
    model = booster("xgboost", "multi:softmax", 3)
    version = version_of(model, measured(100, seed=1).to_numpy())
    assert version.signature.outputs[0].role is OutputRole.LABEL
    own = model.predict(xgboost.DMatrix(measured(seed=2)))
    assert version.labels(measured(seed=2)) == [str(int(code)) for code in own]


@pytest.mark.parametrize(("library", "objective"), [("xgboost", "reg:squarederror"), ("lightgbm", "regression")])
def test_a_native_booster_with_a_value(library: str, objective: str) -> None:
    model = booster(library, objective)
    rows = measured(200, seed=1)
    version = version_of(model, rows)
    own = model.predict(xgboost.DMatrix(rows)) if library == "xgboost" else model.predict(rows)
    assert version.ask(rows)[:, 0] == pytest.approx(own, rel=1e-4)
    with pytest.raises(NotConvertible, match="leave `classes` out"):
        version_of(model, rows, classes=["a", "b"])


@pytest.mark.parametrize("objective", ["rank:pairwise", "binary:logitraw"])
def test_an_objective_without_a_meaning_is_refused(objective: str) -> None:
    with pytest.raises(NotConvertible, match="answers neither probabilities nor a value"):
        version_of(booster("xgboost", objective, 2), measured(50))


def test_a_booster_takes_no_strings() -> None:
    with pytest.raises(NotConvertible, match="the booster does not take the sample"):
        version_of(booster("lightgbm", "binary", 2), measured(50).assign(b="x"))


def test_what_the_converter_does_not_know_is_refused_in_its_words() -> None:
    model = xgboost.XGBClassifier(n_estimators=5, booster="gblinear").fit(measured().fillna(0), truth(measured(), 2))
    with pytest.raises(NotConvertible, match="XGBClassifier can't be converted to ONNX"):
        version_of(model, measured(50).fillna(0))
