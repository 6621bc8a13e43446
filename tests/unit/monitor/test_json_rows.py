"""Hand-made predictions become rows of the log, and what does not fit is counted as skew."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.predictions import Prediction
from services.monitor.json_rows import MAX_UNEXPECTED, JsonRow, to_batch

SIGNATURE = Signature(
    inputs=(
        Feature(name="amount", dtype=DType.FLOAT32, nullable=True),
        Feature(name="count", dtype=DType.INT8),
        Feature(name="flag", dtype=DType.BOOL),
        Feature(name="word", dtype=DType.STRING),
        Feature(name="vector", dtype=DType.FLOAT32, shape=(2, 2)),
        Feature(name="image", dtype=DType.FLOAT32, shape=(2000,)),
    ),
    outputs=(Output(name="p", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
    classes=("no", "yes"),
)
GOOD: dict[str, Any] = {
    "amount": 1.5,
    "count": 3,
    "flag": True,
    "word": "a",
    "vector": [[1, 2], [3, 4]],
    "image": [0.0, 2.0] * 1000,
}


def row(**changes: Any) -> JsonRow:
    more = {name: changes.pop(name) for name in ("prediction", "probabilities") if name in changes}
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value != "absent"}
    return JsonRow(Prediction(model_id="m", input=fields, **more), "id", datetime(2026, 1, 1, tzinfo=UTC))


def test_what_fits_is_logged_as_it_is() -> None:
    batch, skew = to_batch([row(prediction="yes", probabilities=(0.2, 0.8))], SIGNATURE, "1.0.0")
    assert not skew
    logged = batch.to_pylist()[0]
    assert logged["x:amount"] == 1.5
    assert logged["x:vector"] == [1, 2, 3, 4]
    assert logged["x:image"] == {"mean": 1.0, "std": 1.0, "min": 0.0, "max": 2.0}
    assert (logged["y:label"], logged["prediction_id"], logged["version"]) == ("yes", "id", "1.0.0")
    assert logged["y:score"] == pytest.approx(0.8)


def test_probabilities_alone_name_the_class() -> None:
    batch, _ = to_batch([row(probabilities=(0.9, 0.1)), row(probabilities=(1.0,))], SIGNATURE, "1.0.0")
    assert batch.column("y:label").to_pylist() == ["no", None]


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        ("amount", "1.5"),
        ("amount", True),
        ("amount", 10**400),
        ("count", float("nan")),
        ("count", float("inf")),
        ("count", 1.5),
        ("count", 200),
        ("count", None),
        ("flag", 2),
        ("word", 7),
        ("word", "absent"),
        ("vector", [1, 2, 3]),
        ("vector", [[1, 2], [3, "4"]]),
        ("image", None),
    ],
)
def test_what_does_not_fit_is_missing_and_counted(feature: str, value: Any) -> None:
    batch, skew = to_batch([row(), row(**{feature: value})], SIGNATURE, "1.0.0")
    assert skew == {feature: 1}
    assert batch.column(f"x:{feature}").to_pylist()[1] is None


def test_a_nullable_feature_may_be_missing() -> None:
    batch, skew = to_batch([row(amount=None), row(amount="absent")], SIGNATURE, "1.0.0")
    assert not skew
    assert batch.column("x:amount").null_count == 2


def test_unexpected_features_are_counted_up_to_a_bound() -> None:
    _, skew = to_batch([row(**{f"new{i}": 1 for i in range(200)})], SIGNATURE, "1.0.0")
    assert len(skew) == MAX_UNEXPECTED
