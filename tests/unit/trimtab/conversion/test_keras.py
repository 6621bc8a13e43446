"""Keras models: matrices, named inputs, sequences; and what Keras exports wrongly."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from schemas.features import OutputRole
from tests.unit.trimtab.conversion.converting import version_of
from trimtab.conversion.errors import NotConvertible

NAMES = ["a", "b", "c", "d"]


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    keras.utils.set_random_seed(7)


def matrix(rows: int = 100, seed: int = 0) -> Any:
    """Four numbers a row."""
    return np.random.default_rng(seed).normal(size=(rows, 4))


def network(*last: Any) -> Any:
    """A small network over four numbers."""
    return keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), *last])


@pytest.mark.parametrize("frame", [True, False])
def test_softmax_over_classes(frame: bool) -> None:
    model = network(layers.Dense(3, "softmax"))
    sample = pd.DataFrame(matrix(), columns=NAMES) if frame else matrix()
    labels = np.array(["x", "y", "z"])[model.predict(matrix(), verbose=0).argmax(axis=1)]
    version = version_of(model, sample, classes=["x", "y", "z"], labels=labels)
    fresh = matrix(70, seed=1)
    asked = version.ask(pd.DataFrame(fresh, columns=NAMES) if frame else fresh)
    assert np.abs(asked - model.predict(fresh, verbose=0)).max() < 1e-5
    assert [feature.name for feature in version.signature.inputs] == (NAMES if frame else ["f0", "f1", "f2", "f3"])
    assert version.signature.classes == ("x", "y", "z")
    assert version.metadata["metrics"] == {"accuracy": 1.0}
    assert version.metadata["framework"] == "keras"
    assert version.metadata["tags"]["framework_version"] == keras.__version__
    assert version.metadata["hyperparameters"]["parameters"] == model.count_params()


def test_one_sigmoid_is_the_second_class() -> None:
    model = network(layers.Dense(1, "sigmoid"))
    version = version_of(model, matrix(), classes=["no", "yes"])
    fresh = matrix(70, seed=1)
    own = model.predict(fresh, verbose=0)
    assert np.abs(version.ask(fresh) - np.concatenate([1 - own, own], axis=1)).max() < 1e-5
    assert version.labels(fresh) == ["yes" if value > 0.5 else "no" for value in own[:, 0]]


def test_one_unit_is_a_value() -> None:
    model = network(layers.Dense(1))
    version = version_of(model, matrix(), labels=np.zeros(100))
    fresh = matrix(70, seed=1)
    assert version.ask(fresh) == pytest.approx(model.predict(fresh, verbose=0), abs=1e-5)
    assert version.signature.outputs[0].role is OutputRole.VALUE


def named() -> Any:
    """One input a feature, given by name."""
    inputs = {name: keras.Input((1,), name=name) for name in NAMES}
    return keras.Model(inputs, layers.Dense(2, "softmax")(layers.Concatenate()(list(inputs.values()))))


def test_named_inputs_are_the_features() -> None:
    model = named()
    frame = pd.DataFrame(matrix(), columns=NAMES)
    version = version_of(model, frame[["d", "c", "b", "a"]])
    fresh = pd.DataFrame(matrix(30, seed=1), columns=NAMES)
    own = model.predict({name: fresh[[name]].to_numpy() for name in NAMES}, verbose=0)
    assert np.abs(version.ask(fresh) - own).max() < 1e-5
    with pytest.raises(NotConvertible, match="lacks the columns c"):
        version_of(model, frame[["a", "b", "d"]])


def test_inputs_of_several_widths() -> None:
    inputs = [keras.Input((1,), name="one"), keras.Input((2,), name="two")]
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()(inputs)))
    arrays = {"one": matrix()[:, :1], "two": matrix()[:, 1:3]}
    version = version_of(model, arrays)
    assert [(feature.name, feature.shape) for feature in version.signature.inputs] == [("one", ()), ("two", (2,))]


def test_a_sequence_is_one_tensor() -> None:
    model = keras.Sequential([keras.Input((6, 2)), layers.LSTM(4), layers.Dense(2, "softmax")])
    sample = np.random.default_rng(0).normal(size=(40, 6, 2))
    version = version_of(model, sample, feature_names=["readings"])
    (feature,) = version.signature.inputs
    assert (feature.name, feature.shape) == ("readings", (6, 2))
    assert version.baseline.rows == 40


def test_the_same_model_gives_the_same_bytes() -> None:
    model = network(layers.Dense(3, "softmax"))
    assert version_of(model, matrix()).files == version_of(model, matrix()).files


def ends_in_a_model() -> Any:
    """The last layer is a model of its own."""
    given = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Softmax()])
    return keras.Model(given, inner(given))


def test_the_last_layer_is_found_inside_a_nested_model() -> None:
    version = version_of(ends_in_a_model(), matrix())
    assert version.signature.classes == ("0", "1", "2")


def bare() -> Any:
    """No input is known."""
    return keras.Sequential([layers.Dense(2, "softmax")])


@pytest.mark.parametrize(
    ("build", "sample", "options", "sentence"),
    [
        (lambda: network(layers.Dense(3)), matrix(), {}, "end it in a softmax"),
        (lambda: network(layers.Dense(1)), matrix(), {"classes": ["a", "b"]}, "end it in a softmax"),
        (lambda: network(layers.Dense(3, "sigmoid")), matrix(), {}, "which are no probabilities"),
        (lambda: network(layers.Dense(3, "softmax")), matrix(), {"classes": ["a", "b"]}, r"names 2 classes .* has 3"),
        (
            lambda: network(layers.Dense(3, "softmax")),
            matrix()[:, :3],
            {},
            r"takes \[4\] a row .* has \[3\]",
        ),
        (lambda: network(layers.Dense(8, "gelu"), layers.Dense(2, "softmax")), matrix(), {}, "approximate=True"),
        (bare, matrix(), {}, "begin the Sequential with keras.Input"),
        (
            lambda: network(layers.Dense(3, "softmax")),
            np.where(np.eye(100, 4) > 0, np.nan, matrix()),
            {},
            r"lacks values of f0, f1, f2, f3.*impute",
        ),
        (
            lambda: network(layers.Dense(3, "softmax")),
            pd.DataFrame({"a": ["x"], "b": [1], "c": [1], "d": [1]}),
            {},
            "a hold strings",
        ),
    ],
)
def test_what_can_not_be_served_is_refused(
    build: Callable[[], Any], sample: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(NotConvertible, match=sentence):
        version_of(build(), sample, **options)
