"""Converted versions in serving's own parts: rows of JSON in, classes and numbers out, as the model itself says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from schemas.predictions import INPUT
from services.kernel.errors import InvalidInput
from services.serving.clauses import Clauses
from services.serving.columns import Layout
from services.serving.inputs import RowReader
from services.serving.outputs import Meaning, OutputReader
from services.serving.runtime.onnx import OnnxRuntime
from tests.unit.trimtab.conversion.converting import Version, version_of
from tests.unit.trimtab.conversion.people import income, people, wealth
from tests.unit.trimtab.conversion.test_sklearn import prepared


def as_json(frame: Any) -> list[bytes]:
    """One object a row, null where a value is missing."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [json.dumps(row, allow_nan=False).encode() for row in rows]


def served(version: Version, rows: list[bytes], folder: Path) -> Meaning:
    """What serving makes of the rows."""
    path = folder / "model.onnx"
    path.write_bytes(version.files["model.onnx"])
    signature = version.signature
    reader, layout = RowReader(signature, Clauses(), lambda name: None), Layout(signature)
    columns = layout.from_rows([reader.read(row) for row in rows])
    assert layout.misfits(columns) is None
    runtime = OnnxRuntime(path, signature)
    return OutputReader(signature).read(runtime.run(layout.feed(columns), len(rows)))


@pytest.mark.parametrize(
    "final",
    [LogisticRegression(), RandomForestClassifier(10), HistGradientBoostingClassifier(max_iter=5), LinearSVC()],
    ids=lambda final: type(final).__name__,
)
def test_a_classifier_answers_json_as_its_model_does(final: Any, tmp_path: Path) -> None:
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    model = prepared(final, texts).fit(people(), wealth(people(), 3))
    version = version_of(model, people(200, seed=1))
    fresh = people(150, seed=2)
    meaning = served(version, as_json(fresh), tmp_path)
    assert meaning.codes is not None
    classes = version.signature.classes or ()
    if meaning.probabilities is None:
        assert [classes[code] for code in meaning.codes] == model.predict(fresh).tolist()
    else:
        assert np.abs(meaning.probabilities - model.predict_proba(fresh)).max() < 1e-4


def test_a_number_answers_json_as_its_model_does(tmp_path: Path) -> None:
    model = prepared(LinearRegression()).fit(people(), income(people()))
    version = version_of(model, people(200, seed=1))
    fresh = people(150, seed=2)
    assert served(version, as_json(fresh), tmp_path).values == pytest.approx(model.predict(fresh), rel=1e-4)


def test_what_may_be_missing_is_what_the_sample_lacked(tmp_path: Path) -> None:
    model = prepared(LogisticRegression()).fit(people(), wealth(people()))
    version = version_of(model, people(200, seed=1))
    row = json.loads(as_json(people(1, seed=2))[0])
    bare = {name: value for name, value in row.items() if name not in ("age (years)", "plan")}
    assert served(version, [json.dumps(bare).encode()], tmp_path).codes is not None
    with pytest.raises(InvalidInput, match="'city' is null, but this feature may not be missing"):
        served(version, [json.dumps({**bare, "city": None}).encode()], tmp_path)


def test_the_baseline_watches_every_feature_and_the_prediction() -> None:
    model = prepared(LogisticRegression()).fit(people(), wealth(people()))
    sample = people(200, seed=1)
    version = version_of(model, sample, labels=wealth(sample))
    baseline = version.baseline
    assert baseline.rows == 200
    watched = {feature.name: feature for feature in baseline.features}
    assert list(watched) == [*sample.columns, "prediction", "prediction_score"]
    assert all(watched[name].column == INPUT + name for name in sample.columns)
    assert watched["plan"].missing == int(sample["plan"].isna().sum())
    assert watched["age (years)"].missing == int(sample["age (years)"].isna().sum())
    said = model.predict(sample).tolist()
    assert watched["prediction"].counts[:2] == (said.count("poor"), said.count("rich"))
    assert baseline.metrics == {"accuracy": model.score(sample, wealth(sample))}
