"""The edge runner reads a row as our servers read it."""

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.errors import InvalidInput
from services.serving.clauses import Clauses
from services.serving.columns import Layout
from services.serving.contract import Contract
from services.serving.inputs import RowReader, check_texts
from trimtab.edge.runner import errors, inputs
from trimtab.edge.runner.signature import read_signature

SIGNATURE = Signature(
    inputs=(
        *(Feature(name=dtype.value, dtype=dtype) for dtype in DType),
        Feature(name="maybe", dtype=DType.FLOAT64, nullable=True),
        Feature(name="maybe-text", dtype=DType.STRING, nullable=True, filler="none"),
        Feature(name="maybe-count", dtype=DType.INT16, nullable=True, filler=-1),
        Feature(name="vector", dtype=DType.FLOAT32, shape=(2, 2)),
        Feature(name="maybe-vector", dtype=DType.FLOAT32, shape=(2,), nullable=True),
        Feature(name="words", dtype=DType.STRING, shape=(2,)),
    ),
    outputs=(Output(name="y", dtype=DType.FLOAT32, role=OutputRole.VALUE),),
)
SERVER = RowReader(SIGNATURE, Clauses(), lambda name: None)
EDGE = inputs.RowReader(read_signature(SIGNATURE.model_dump(mode="json")))

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-300, 300),
    st.floats(),
    st.sampled_from([65504, 65505.0, 3.4028234663852886e38, 3.4028236e38, 1.7e308, -0.0, 2.5, 3.0, 1e400]),
)
values = st.one_of(numbers, st.none(), st.booleans(), st.text(max_size=4), st.just("a\0"), st.just("\ud800"))
lists = st.recursive(values, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
fitting: dict[str, st.SearchStrategy[Any]] = {
    **{dtype.value: st.integers(0, 100) for dtype in DType if dtype not in (DType.BOOL, DType.STRING)},
    "bool": st.booleans(),
    "string": st.text(max_size=4, alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    "maybe": st.none() | st.floats(-1, 1),
    "maybe-text": st.none() | st.just("x"),
    "maybe-count": st.none() | st.integers(0, 9),
    "vector": st.just([[1, 2], [3, 4]]) | st.just([1, 2.5, 3, 4]),
    "maybe-vector": st.none() | st.just([1, None]),
    "words": st.just(["a", "b"]),
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Rows that fit but for some features, which hold anything or are absent, and perhaps one that nobody knows."""
    document = {name: draw(strategy) for name, strategy in fitting.items()}
    for name in draw(st.lists(st.sampled_from(sorted(fitting)), max_size=2)):
        document[name] = draw(lists)
    for name in draw(st.lists(st.sampled_from(sorted(fitting)), max_size=1)):
        document.pop(name, None)
    if draw(st.integers(0, 9)) == 0:
        document["unknown"] = 1
    return document


def by_server(document: object) -> list[Any] | None:
    try:
        row = SERVER.read_value(document)
        for feature, value in zip(SIGNATURE.inputs, row, strict=True):
            if feature.dtype is DType.STRING:
                check_texts(feature, value.flat if isinstance(value, np.ndarray) else (value,), 64 << 10)
    except InvalidInput:
        return None
    return [value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value for value in row]


def by_edge(document: object) -> list[Any] | None:
    try:
        return EDGE.read(document).values
    except errors.InvalidInput:
        return None


@given(documents())
def test_a_row_is_taken_or_refused_as_by_a_server(document: dict[str, Any]) -> None:
    server, edge = by_server(document), by_edge(document)
    assert (server is None) == (edge is None)
    if server is not None and edge is not None:
        for feature, ours, theirs in zip(SIGNATURE.inputs, edge, server, strict=True):
            kind = object if feature.dtype is DType.STRING else feature.dtype.value
            with np.errstate(over="ignore"):
                assert np.array_equal(
                    np.array(ours, dtype=kind), np.array(theirs, dtype=kind), equal_nan=feature.dtype.is_float
                )
            if feature.shape == ():
                assert type(ours) is type(theirs) or math.isclose(float(ours), float(theirs))


@given(lists)
def test_what_is_no_object_is_refused(document: object) -> None:
    assert by_edge(document) is None


BOUNDED = Signature(
    inputs=(
        Feature(name="f16", dtype=DType.FLOAT16, minimum=-0.1, maximum=0.1),
        Feature(name="f32", dtype=DType.FLOAT32, minimum=-0.1, maximum=0.1),
        Feature(name="f64", dtype=DType.FLOAT64, minimum=-0.1),
        Feature(name="maybe", dtype=DType.FLOAT32, maximum=0.1, nullable=True, filler=9),
        Feature(name="count", dtype=DType.INT32, minimum=0.5, maximum=3, nullable=True, filler=-1),
        Feature(name="vector", dtype=DType.FLOAT32, shape=(2,), minimum=0.1, nullable=True),
        Feature(name="text", dtype=DType.STRING, categories=("a", "b")),
        Feature(name="maybe-text", dtype=DType.STRING, categories=("a",), nullable=True),
    ),
    outputs=(Output(name="y", dtype=DType.FLOAT32, role=OutputRole.VALUE),),
)
near = st.one_of(st.sampled_from([0.1, -0.1, 0.10000000149, -0.10000000149, 0.09997, 9.0, 0.0]), st.floats(-1, 1))
texts = st.sampled_from(["a", "b", "c", ""])


@given(
    st.fixed_dictionaries(
        {
            "f16": near,
            "f32": near,
            "f64": near,
            "maybe": st.none() | near,
            "count": st.none() | st.integers(-2, 5),
            "vector": st.none() | st.lists(near, min_size=2, max_size=2),
            "text": texts,
            "maybe-text": st.none() | texts,
        }
    )
)
def test_a_row_is_flagged_as_by_a_server(document: dict[str, Any]) -> None:
    reader, layout = RowReader(BOUNDED, Clauses(), lambda name: None), Layout(BOUNDED)
    columns = Contract(layout, Clauses()).flagged(layout.from_rows([reader.read_value(document)]))
    server = {pair for text in columns.flags or [] for pair in text.split(",") if pair}
    edge = inputs.RowReader(read_signature(BOUNDED.model_dump(mode="json"))).read(document)
    assert {f"{name}:{kind}" for name, kind in edge.flags.items()} == server
