"""What is given wrongly: a sentence that says what to do, and nothing is sent."""

import io
import pickle
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier

from services.kernel.errors import InvalidInput, Misconfigured
from tests.graphs import classifier
from tests.unit.trimtab.conversion.converting import version_of
from trimtab.conversion.errors import NotConvertible


def frame(rows: int = 40) -> pd.DataFrame:
    """Two columns."""
    random = np.random.default_rng(0)
    return pd.DataFrame({"a": random.normal(size=rows), "b": random.normal(size=rows)})


def fitted() -> Any:
    """A model over `frame`."""
    return LogisticRegression().fit(frame(), frame()["a"] > 0)


def gaps() -> pd.DataFrame:
    """A value is missing."""
    rows = frame()
    rows.loc[3, "b"] = np.nan
    return rows


class Torchlike:
    """A class of another library."""


Torchlike.__module__ = "torch.nn"


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (pickle.dumps({"a": 1}), "a pickle runs code when it is read"),
        (io.BytesIO(b""), "a pickle runs code when it is read"),
        (LogisticRegression, "LogisticRegression is a class: give a fitted model"),
        (LogisticRegression(), "the LogisticRegression is not fitted"),
        ({"weights": [1, 2]}, "a builtins.dict can't be converted here"),
        (None, "can't be converted here"),
        (Torchlike(), r"torch\.onnx\.export"),
        (classifier(), r"onnx\.save_model"),
    ],
    ids=["bytes", "file", "class", "unfitted", "dict", "none", "torch", "onnx"],
)
def test_what_is_no_fitted_model(model: Any, sentence: str) -> None:
    with pytest.raises(NotConvertible, match=sentence):
        version_of(model, frame())
    assert isinstance(classifier(), onnx.ModelProto)


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        (None, "give sample="),
        (frame(0), "the sample is empty"),
        (np.empty((0, 2)), "the sample is empty"),
        (frame()[[]], "the sample has no columns"),
        (frame()[["a"]], "lacks the columns b"),
        (np.zeros(5), "has 1 dimensions"),
        (np.zeros((5, 3)), "does not take the sample"),
        ([[1, 2], [3]], "the sample is no table"),
        (frame().assign(b=[1, "x"] * 20), "column 'b' of the sample holds values of several kinds"),
        (frame().assign(b=None), "column 'b' of the sample has no value in any row"),
        (frame().assign(b=[True, None] * 20), "has booleans and missing values"),
        (frame().assign(b=datetime(2026, 1, 1, tzinfo=UTC)), "column 'b' of the sample is timestamp"),
        (frame().assign(b=np.inf), "column 'b' of the sample holds an infinity"),
        (frame().assign(b=1e300), "beyond float32"),
        (pd.concat([frame(), frame()], axis=1), "appear twice: a, b"),
        (frame().assign(b="x"), "does not take the sample"),
        (gaps(), r"missing values in b: impute them in a Pipeline"),
    ],
    ids=str,
)
def test_a_sample_that_does_not_fit(sample: Any, sentence: str) -> None:
    with pytest.raises(NotConvertible, match=sentence):
        version_of(fitted(), sample)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": [True, False]}, r"labels has shape \[2\]: give one label for each of the 40 rows"),
        ({"labels": ["maybe"] * 40}, "the labels 'maybe' are none of the classes False, True"),
        ({"classes": ["a", "b", "c"]}, r"names 3 classes and the model has 2 \(False, True\)"),
        ({"classes": ["a", "a"]}, "two classes have the same name"),
    ],
)
def test_labels_and_classes_that_do_not_fit(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(NotConvertible, match=sentence):
        version_of(fitted(), frame(), **options)


def test_a_regression_model_has_no_classes_and_number_labels() -> None:
    model = LinearRegression().fit(frame(), frame()["a"])
    with pytest.raises(NotConvertible, match="leave `classes` out"):
        version_of(model, frame(), classes=["a", "b"])
    with pytest.raises(NotConvertible, match="must be numbers"):
        version_of(model, frame(), labels=["high"] * 40)
    with pytest.raises(NotConvertible, match="2 feature_names and the sample has 3 columns"):
        version_of(model, np.zeros((5, 3)), feature_names=["a", "b"])


def test_one_answer_a_row() -> None:
    with pytest.raises(NotConvertible, match="register one model for each"):
        version_of(LinearRegression().fit(frame(), frame()), frame())
    with pytest.raises(NotConvertible, match="several labels a row"):
        version_of(MultiOutputClassifier(LogisticRegression()).fit(frame(), frame() > 0), frame())


@pytest.mark.parametrize(
    ("package", "sample", "install"),
    [("skl2onnx", frame(), r"'trimtab\[convert\]'"), ("pandas", frame().to_dict("records"), "pandas")],
)
def test_a_package_that_is_not_installed_is_named(
    package: str, sample: Any, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Misconfigured, match=f"{package} is not installed.*pip install {install}"):
        version_of(model, sample)


@pytest.mark.parametrize(
    "sample",
    [
        frame().to_numpy(),
        frame().to_numpy().tolist(),
        frame().to_dict("records"),
        pa.Table.from_pandas(frame()),
        frame()[["b", "a"]],
        frame().astype({"a": "Float64"}),
        frame().assign(note="not a feature"),
    ],
    ids=["array", "lists", "records", "arrow", "another order", "extension dtype", "one column more"],
)
def test_many_forms_of_the_same_rows(sample: Any) -> None:
    version = version_of(fitted(), sample)
    assert [feature.name for feature in version.signature.inputs] == ["a", "b"]
    assert version.labels(frame()) == [str(label) for label in fitted().predict(frame())]


def test_the_refusal_is_the_callers_fault_by_its_type() -> None:
    assert issubclass(NotConvertible, InvalidInput)
