"""Reading rows: the fast reader and the slow one agree, and what is read is what the log gives back."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.errors import InvalidInput
from services.serving.block_table import table_of
from services.serving.blocks import RowFormat
from services.serving.clauses import Clauses
from services.serving.columns import Layout
from services.serving.inputs import RowReader
from services.serving.outputs import Meaning

SIGNATURE = Signature(
    inputs=(
        Feature(name="float one", dtype=DType.FLOAT32),
        Feature(name="float-two", dtype=DType.FLOAT32, nullable=True),
        Feature(name="double", dtype=DType.FLOAT64, nullable=True, filler=-1.0),
        Feature(name="small", dtype=DType.INT8),
        Feature(name="huge", dtype=DType.UINT64),
        Feature(name="flag", dtype=DType.BOOL, nullable=True, filler=False),
        Feature(name="text", dtype=DType.STRING, nullable=True),
        Feature(name="vector", dtype=DType.FLOAT32, shape=(2, 2)),
    ),
    outputs=(Output(name="p", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
    classes=("no", "yes"),
)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ROWS = st.fixed_dictionaries(
    {
        "float one": FLOATS,
        "small": st.integers(-128, 127),
        "huge": st.integers(0, 2**64 - 1),
        "vector": st.lists(st.lists(FLOATS, min_size=2, max_size=2), min_size=2, max_size=2),
    },
    optional={
        "float-two": st.none() | FLOATS,
        "double": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "flag": st.none() | st.booleans(),
        "text": st.none() | st.text(st.characters(codec="utf-8"), max_size=10),
    },
)


def reader(seen: list[str] | None = None, clauses: Clauses | None = None) -> RowReader:
    return RowReader(SIGNATURE, clauses or Clauses(), (seen if seen is not None else []).append)


def expected(row: dict[str, Any], feature: Feature) -> Any:
    value = row.get(feature.name)
    return feature.missing if value is None else value


@given(ROWS)
def test_both_readers_agree(row: dict[str, Any]) -> None:
    fast = reader().read(json.dumps(row).encode())
    slow = reader().read_value(row)
    for feature, one, two in zip(SIGNATURE.inputs, fast, slow, strict=True):
        assert np.array_equal(np.array(one, dtype=object) == one, np.array(two, dtype=object) == two)
        if feature.shape == () and not (isinstance(two, float) and math.isnan(two)):
            assert (one if one is not None else feature.missing) == two


@given(st.lists(ROWS, min_size=1, max_size=5), st.integers(0, 2**40))
def test_the_log_gives_back_what_was_read(rows: list[dict[str, Any]], first: int) -> None:
    columns = Layout(SIGNATURE).from_rows([reader().read(json.dumps(row).encode()) for row in rows])
    n = len(rows)
    form = RowFormat(SIGNATURE)
    probabilities = np.tile(np.array([0.25, 0.75], dtype=np.float32), (n, 1))
    meaning = Meaning(np.ones(n, dtype=np.int16), probabilities)
    parts = form.encode(
        first_sequence=first,
        time_us=1_700_000_000_000_000,
        signature=0,
        version="1.0.0",
        routes=["a"],
        route_codes=None,
        latencies_us=np.arange(n, dtype=np.uint32),
        columns=columns,
        meaning=meaning,
        error=None,
    )
    block = form.read(b"".join(parts))
    assert block.head.first_sequence == first
    batch = table_of(form, [block, block]).to_arrow()
    assert batch.schema == form.schema
    for written, row in zip(batch.to_pylist(), rows + rows, strict=True):
        assert (written["y:label"], written["y:score"], written["y:probabilities"]) == ("yes", 0.75, [0.25, 0.75])
        for feature in SIGNATURE.inputs:
            want, got = expected(row, feature), written[f"x:{feature.name}"]
            if feature.shape == ():
                assert got == want or (math.isnan(want) and math.isnan(got))
            else:
                assert got == [value for inner in want for value in inner]


@given(ROWS, st.sampled_from([f.name for f in SIGNATURE.inputs]))
def test_a_wrong_value_is_named(row: dict[str, Any], name: str) -> None:
    seen: list[str] = []
    with pytest.raises(InvalidInput, match=re.escape(repr(name))):
        reader(seen).read(json.dumps({**row, name: {}}).encode())
    assert seen == [name]


@given(ROWS)
def test_an_unexpected_feature_is_refused_or_flagged(row: dict[str, Any]) -> None:
    seen: list[str] = []
    body = json.dumps({**row, "new": 1}).encode()
    with pytest.raises(InvalidInput, match="'new'"):
        reader(seen).read(body)
    reader(seen, Clauses(unexpected="flag")).read(body)
    assert seen == ["new", "new"]
