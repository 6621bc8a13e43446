"""What the edge runner says about a row."""

import math

import pytest

from trimtab.edge.runner.errors import IntegrityFailed, InvalidInput, Malformed
from trimtab.edge.runner.inputs import RowReader, load
from trimtab.edge.runner.signature import Feature, Signature, read_signature

SIGNATURE = Signature(
    inputs=(
        Feature("age", "float32", minimum=0, maximum=120),
        Feature("country", "string", categories=frozenset({"at", "de"})),
        Feature("count", "int64", nullable=True, filler=-1, minimum=0),
        Feature("pair", "float32", (2,), nullable=True, maximum=1),
    ),
    outputs=(),
    classes=None,
)
GOOD = {"age": 30, "country": "at", "count": 2, "pair": [0.5, 1]}


def test_what_lies_outside_is_answered_and_flagged() -> None:
    reader = RowReader(SIGNATURE)
    assert reader.read(GOOD).flags == {}
    strange = reader.read({"age": 121, "country": "fr", "count": -3, "pair": [0, 2]})
    assert strange.flags == {"age": "range", "country": "category", "count": "range", "pair": "range"}
    assert strange.values == [121.0, "fr", -3, [0.0, 2.0]]


def test_missing_values_are_what_the_signature_says() -> None:
    row = RowReader(SIGNATURE).read({"age": 1, "country": "de", "pair": [None, 1]})
    assert row.values[2] == -1
    assert math.isnan(row.values[3][0])
    assert row.flags == {}, "a missing value is in range"


def test_a_bound_is_rounded_as_the_value_is() -> None:
    tenth = Signature((Feature("x", "float32", maximum=0.1), Feature("y", "float64", maximum=0.1)), (), None)
    assert RowReader(tenth).read({"x": 0.10000000149, "y": 0.10000000149}).flags == {"y": "range"}


def test_every_problem_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        RowReader(SIGNATURE).read({"age": math.nan, "count": 1.5, "pair": [1], "more": 1})
    assert set(caught.value.features) == {"age", "country", "count", "pair", "more"}
    assert caught.value.features["country"] == "is missing"
    many = {f"f{i}": 1 for i in range(100)}
    with pytest.raises(InvalidInput, match="and 90 more"):
        RowReader(SIGNATURE).read({**GOOD, **many})


def test_unexpected_features_may_be_flagged_instead() -> None:
    row = RowReader(SIGNATURE, "flag").read({**GOOD, "more": {"deep": 1}})
    assert row.flags == {"more": "unexpected"}
    many = RowReader(SIGNATURE, "flag").read({**GOOD, **{f"f{i}": 1 for i in range(100)}})
    assert len(many.flags) == 10


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1" * 5000, b"\xff", '{"a":1}x'])
def test_what_is_no_json_is_malformed(text: str | bytes) -> None:
    with pytest.raises(Malformed):
        load(text)


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"inputs": [{"name": "a", "dtype": "complex"}], "outputs": []}, {"inputs": 1, "outputs": 1}],
)
def test_a_signature_that_is_none(document: object) -> None:
    with pytest.raises(IntegrityFailed, match="signature"):
        read_signature(document)
