"""The vectorised checks of ranges and categories say what a look at every value says."""

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.features import DType, Feature, Output, Signature
from schemas.serving_options import Misfit
from services.serving.clauses import Clauses
from services.serving.columns import Layout
from services.serving.contract import Contract

NUMBERS = st.floats(-100, 100, width=16) | st.integers(-100, 100)
WORDS = st.sampled_from(["", "tcp", "udp", "icmp", "?"])


@st.composite
def features(draw: st.DrawFn, name: str) -> Feature:
    dtype = draw(st.sampled_from([DType.FLOAT32, DType.FLOAT32, DType.FLOAT64, DType.INT64, DType.UINT8, DType.STRING]))
    nullable = draw(st.booleans())
    shape = draw(st.sampled_from([(), (), (2,)]))
    if dtype is DType.STRING:
        categories = draw(st.none() | st.lists(WORDS, max_size=3).map(tuple))
        return Feature(name=name, dtype=dtype, shape=shape, nullable=nullable, filler="?", categories=categories)
    filler: Any = draw(st.integers(0, 100)) if not dtype.is_float else draw(st.none() | st.just(7.5))
    minimum, maximum = draw(st.none() | NUMBERS), draw(st.none() | NUMBERS)
    return Feature(
        name=name, dtype=dtype, shape=shape, nullable=nullable, filler=filler, minimum=minimum, maximum=maximum
    )


def values(feature: Feature, rows: int) -> st.SearchStrategy[Any]:
    if feature.dtype is DType.STRING:
        element: st.SearchStrategy[Any] = WORDS
    elif feature.dtype.is_float:
        element = st.floats(-200, 200, width=16) | (st.just(feature.missing) if feature.nullable else st.nothing())
    else:
        element = st.integers(0, 200) if feature.dtype is DType.UINT8 else st.integers(-200, 200)
    kind = object if feature.dtype is DType.STRING else feature.dtype.value
    count = rows * feature.size
    flat = st.lists(element, min_size=count, max_size=count)
    return flat.map(lambda made: np.array(made, dtype=kind).reshape(rows, *feature.shape))


def breaks(feature: Feature, value: Any) -> str | None:
    if feature.nullable and (value == feature.missing or value != value):
        return None
    if feature.dtype is DType.STRING:
        return "category" if feature.categories is not None and value not in feature.categories else None
    low = -math.inf if feature.minimum is None else feature.minimum
    high = math.inf if feature.maximum is None else feature.maximum
    return None if low <= value <= high else "range"


RULINGS: st.SearchStrategy[Misfit] = st.sampled_from(["reject", "flag"])


@given(st.data(), st.integers(1, 4), RULINGS, RULINGS)
def test_the_checks_agree_with_a_look_at_every_value(
    data: st.DataObject, rows: int, of_range: Any, of_text: Any
) -> None:
    inputs = tuple(data.draw(features(f"f{i}")) for i in range(data.draw(st.integers(1, 5))))
    signature = Signature(inputs=inputs, outputs=(Output(name="y", dtype=DType.FLOAT32),))
    layout = Layout(signature)
    arrays = [data.draw(values(feature, rows)) for feature in inputs]
    columns = layout.from_arrays(arrays, rows)
    contract = Contract(layout, Clauses(range=of_range, category=of_text))
    refused, flags = [], []
    for row in range(rows):
        found = []
        for feature, array in zip(inputs, arrays, strict=True):
            for value in np.asarray(array[row]).reshape(-1).tolist():
                clause = breaks(feature, value)
                if clause is not None and (feature.name, clause) not in found:
                    found.append((feature.name, clause))
        ruling = {"range": of_range, "category": of_text}
        refused.append(any(ruling[clause] == "reject" for _, clause in found))
        flags.append({f"{name}:{clause}" for name, clause in found if ruling[clause] == "flag"})
    broken = contract.broken(columns)
    assert refused == ([False] * rows if broken is None else broken.tolist())
    written = contract.flagged(columns).flags or [""] * rows
    assert [set(text.split(",")) - {""} for text in written] == flags
    for row in np.flatnonzero(refused).tolist():
        told = contract.refusal(layout.take(columns, slice(row, row + 1))).facts["features"]
        assert set(told) <= {feature.name for feature in inputs}
        assert told
