"""What goes into a baseline, and how it is binned."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from schemas.baseline import MAX_ELEMENTS, TOP_CATEGORIES, Baseline, Kind, build_baseline
from schemas.baseline_sample import read_baseline_sample, write_baseline_sample
from schemas.features import DType, Feature, Output, OutputRole, Signature

VALUE = (Output(name="value", dtype=DType.FLOAT32),)


def of(feature: Feature, values: object) -> Baseline:
    signature = Signature(inputs=(feature,), outputs=VALUE)
    return build_baseline({feature.name: values}, signature)


def test_numbers_get_deciles_that_hold_a_tenth_each() -> None:
    values = np.random.default_rng(1).normal(size=10_000)
    feature = of(Feature(name="x", dtype=DType.FLOAT64), values).feature("x")
    assert feature.edges is not None
    assert len(feature.edges) == 9
    assert feature.counts[:-1] == (1000,) * 10
    assert feature.missing == 0
    assert sum(feature.grid_counts) == 10_000
    assert len(feature.grid) >= 256
    assert feature.std == pytest.approx(values.std())


@pytest.mark.parametrize("figure", ["mean", "std", "minimum", "maximum"])
def test_figures_are_numbers_that_json_has(figure: str) -> None:
    made = of(Feature(name="x", dtype=DType.FLOAT64), [1.0, 2.0, 4.0]).to_bytes()
    document = json.loads(made)
    document["features"][0][figure] = "SIGN"
    for sign in ("1e999", "-1e999", "NaN"):
        with pytest.raises(ValidationError, match="finite number"):
            Baseline.model_validate_json(json.dumps(document).replace('"SIGN"', sign))
    document["features"][0][figure] = 1e308
    assert Baseline.model_validate_json(json.dumps(document)).features[0].rows == 3


def test_counts_are_not_negative() -> None:
    document = json.loads(of(Feature(name="x", dtype=DType.BOOL), [True, False]).to_bytes())
    document["features"][0]["counts"] = [-(10**400), 2, 10**400]
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Baseline.model_validate_json(json.dumps(document))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_beyond_what_can_be_added_up_have_no_mean() -> None:
    baseline = of(Feature(name="x", dtype=DType.FLOAT64), [1.5e308, 1.6e308, 1.7e308, 1.0])
    feature = baseline.feature("x")
    assert (feature.mean, feature.std, feature.maximum) == (None, None, 1.7e308)
    assert Baseline.model_validate_json(baseline.to_bytes()) == baseline


def test_a_metric_that_is_no_number_is_left_out() -> None:
    signature = Signature(inputs=(Feature(name="x", dtype=DType.FLOAT64),), outputs=VALUE)
    metrics = {"loss": math.nan, "auc": math.inf, "f1": 0.5}
    baseline = build_baseline({"x": [1.0, 2.0]}, signature, metrics=metrics)
    assert baseline.metrics == {"f1": 0.5}
    assert Baseline.model_validate_json(baseline.to_bytes()) == baseline


def test_tied_deciles_are_merged_and_an_atom_has_a_cell_of_its_own() -> None:
    values = np.concatenate([np.zeros(700), np.arange(1, 301)]).astype(np.float32)
    feature = of(Feature(name="x", dtype=DType.FLOAT32), values).feature("x")
    assert feature.edges == (0.0, 100.0, 200.0)
    assert feature.counts == (700, 100, 100, 100, 0)
    assert feature.grid[1] == 0.0
    assert feature.grid_counts[1] == 700


def test_few_values_that_repeat_get_a_bin_each_and_few_rows_do_not() -> None:
    few = of(Feature(name="x", dtype=DType.INT64), [1, 2, 2, 3] * 5).feature("x")
    assert few.values == (1.0, 2.0, 3.0)
    assert few.counts == (5, 10, 5, 0, 0)
    assert few.bin_names == ("1", "2", "3", "other", "missing")
    once = of(Feature(name="x", dtype=DType.FLOAT64), [0.1, 0.2, 0.3, 0.4]).feature("x")
    assert once.edges is not None


def test_a_constant_has_one_bin() -> None:
    feature = of(Feature(name="x", dtype=DType.FLOAT32), [3.0] * 10).feature("x")
    assert feature.edges is None
    assert feature.counts == (10, 0, 0)


def test_missing_values_of_every_kind_have_their_own_bin() -> None:
    assert of(Feature(name="x", dtype=DType.FLOAT64), [1.0, None, math.nan]).feature("x").missing == 2
    assert of(Feature(name="x", dtype=DType.STRING), ["a", None]).feature("x").missing == 1
    nullable = Feature(name="x", dtype=DType.STRING, nullable=True)
    assert of(nullable, ["a", "", None]).feature("x").missing == 2
    filled = Feature(name="x", dtype=DType.INT32, nullable=True, filler=-1)
    assert of(filled, [5, -1, 5, 5]).feature("x").missing == 1


def test_infinite_values_are_counted_and_leave_the_moments_alone() -> None:
    feature = of(Feature(name="x", dtype=DType.FLOAT64), [*np.arange(100.0), math.inf, -math.inf]).feature("x")
    assert feature.rows == 102
    assert feature.mean == pytest.approx(49.5)
    assert feature.grid_counts[0] >= 1
    assert feature.grid_counts[-2] == 1


def test_nothing_but_missing_is_still_a_baseline() -> None:
    feature = of(Feature(name="x", dtype=DType.FLOAT64), [None, None]).feature("x")
    assert feature.counts == (0, 2)
    assert feature.mean is None


def test_categories_are_bounded() -> None:
    words = [f"word{i}" for i in range(300) for _ in range(2 if i < 10 else 1)]
    feature = of(Feature(name="x", dtype=DType.STRING), words).feature("x")
    assert feature.categories is not None
    assert len(feature.categories) == TOP_CATEGORIES
    assert feature.counts[-2] == 300 - TOP_CATEGORIES
    assert feature.counts[0] == 2


def test_vectors_are_watched_by_element_up_to_a_bound_then_by_summary() -> None:
    random = np.random.default_rng(0)
    small = of(Feature(name="v", dtype=DType.FLOAT32, shape=(3,)), random.normal(size=(50, 3)))
    assert [feature.name for feature in small.features] == ["v[0]", "v[1]", "v[2]"]
    wide = MAX_ELEMENTS + 1
    large = of(Feature(name="v", dtype=DType.FLOAT32, shape=(wide,)), random.normal(size=(50, wide)))
    assert [feature.name for feature in large.features] == ["v.mean", "v.std", "v.min", "v.max"]


def test_predictions_and_accuracy_come_from_held_out_rows() -> None:
    signature = Signature(
        inputs=(Feature(name="x", dtype=DType.FLOAT32),),
        outputs=(Output(name="p", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
        classes=("no", "yes"),
    )
    baseline = build_baseline(
        {"x": np.arange(100.0)},
        signature,
        predictions=["yes", "no", "no", "yes"],
        labels=["yes", "no", "yes", "yes"],
        scores=[0.9, 0.8, 0.7, 0.6],
    )
    assert baseline.metrics == {"accuracy": 0.75}
    assert baseline.metrics_rows == 4
    assert baseline.feature("prediction").counts == (2, 2, 0, 0)
    assert baseline.feature("prediction").rows == 4
    assert baseline.feature("prediction_score").kind is Kind.NUMBER


def test_a_baseline_reads_back_and_has_a_digest() -> None:
    baseline = of(Feature(name="x", dtype=DType.FLOAT32), np.random.default_rng(0).normal(size=1000))
    again = Baseline.model_validate_json(baseline.to_bytes())
    assert again == baseline
    assert again.digest == baseline.digest


def test_a_feature_without_a_column_is_named() -> None:
    with pytest.raises(KeyError, match="x"):
        build_baseline({}, Signature(inputs=(Feature(name="x", dtype=DType.FLOAT32),), outputs=VALUE))


def test_the_sample_is_bounded_and_repeatable() -> None:
    columns = {"x": np.arange(100.0), "v": np.ones((100, 3), np.float32), "s": pa.array(["a"] * 100)}
    data = write_baseline_sample(columns, rows=10)
    assert data == write_baseline_sample(columns, rows=10)
    table = read_baseline_sample(data)
    assert table.num_rows == 10
    assert table.column("x").to_pylist() == sorted(table.column("x").to_pylist())
    assert read_baseline_sample(write_baseline_sample(columns)).num_rows == 100


def test_a_saturated_score_is_not_binned_by_the_last_bits_of_a_computation() -> None:
    random = np.random.default_rng(0)
    scores = np.clip(1 - random.exponential(1e-4, 2000), 0, 1).astype(np.float32)
    signature = Signature(
        inputs=(Feature(name="x", dtype=DType.FLOAT32),),
        outputs=(Output(name="p", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
        classes=("no", "yes"),
    )
    feature = build_baseline({"x": np.arange(9.0)}, signature, scores=scores).feature("prediction_score")
    assert feature.edges is not None
    noisy = scores + np.float32(2e-7) * random.choice([-1, 0, 1], 2000).astype(np.float32)
    edges = np.asarray(feature.edges, np.float32)
    assert np.array_equal(np.searchsorted(edges, noisy), np.searchsorted(edges, scores))


def test_a_regression_model_has_its_predictions_watched_as_numbers() -> None:
    values = np.random.default_rng(0).normal(size=500)
    signature = Signature(inputs=(Feature(name="x", dtype=DType.FLOAT32),), outputs=VALUE)
    feature = build_baseline({"x": values}, signature, predictions=values).feature("prediction")
    assert feature.column == "y:value"
    assert feature.edges is not None
    assert len(feature.edges) == 9
    empty = build_baseline({"x": values}, signature, predictions=[]).feature("prediction")
    assert empty.rows == 0
