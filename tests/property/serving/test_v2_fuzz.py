"""Whatever arrives at `/v2/.../infer`, the answer is 200 or an error in the protocol's own words, and the next request
is answered."""

import asyncio
import gzip
import json
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.features import DType
from tests import serving_models
from tests.unit.serving.conftest import Plane, plane_in

DATATYPES = [dtype.v2 for dtype in DType] + ["BF16", "FP64", "", "float32"]
TENSORS = {"x": "FP32", "duration": "FP32", "service": "BYTES", "count": "INT64", "src-bytes": "FP32"}
GOOD = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0, 5.0, 0.0, 0.0]}]}


class Bench:
    """One data plane on an event loop of its own, asked from a test that is not asynchronous."""

    def __init__(self, root: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(1)
        self._context = plane_in(root, self._executor)
        self.plane: Plane = self._loop.run_until_complete(self._context.__aenter__())

    def ask(self, model: str, content: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
        """Status, JSON (None for an answer with raw tensors) and bytes."""
        asking = self.plane.client.post(f"/v2/models/{model}/infer", content=content, headers=headers)
        answer = self._loop.run_until_complete(asking)
        raw = "inference-header-content-length" in answer.headers
        return answer.status_code, None if raw else answer.json(), answer.content

    def close(self) -> None:
        self._loop.run_until_complete(self._context.__aexit__(None, None, None))
        self._executor.shutdown()
        self._loop.close()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A data plane with the models `vector`, `table` and `number`."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        yield bench
        bench.close()


def check(bench: Bench, model: str, content: bytes, headers: dict[str, str] | None = None) -> int:
    """Ask, and judge the answer; its status."""
    status, document, _ = bench.ask(model, content, headers)
    assert status < 500 or status == 501, document
    if status != 200:
        assert list(document) == ["error"]
        assert isinstance(document["error"], str)
        assert 0 < len(document["error"]) < 5000
    assert bench.ask("vector", json.dumps(GOOD).encode())[0] == 200
    return status


numbers = st.one_of(
    st.integers(-3, 5),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e39, -1e308, 2**31, 2**63, 0.5]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8))
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
shapes = st.one_of(
    st.sampled_from([[1], [2], [1, 1], [2, 1], [1, 4], [2, 4], [0, 4], [-1, 4], [2**62, 4], []]),
    st.lists(st.integers(-(2**65), 2**65), max_size=4),
    anything,
)
parameters = st.one_of(
    st.none(),
    anything,
    st.fixed_dictionaries(
        {},
        optional={
            "binary_data_size": st.one_of(st.integers(-1, 40), anything),
            "binary_data": st.one_of(st.booleans(), anything),
            "binary_data_output": st.one_of(st.booleans(), anything),
            "classification": st.one_of(st.integers(-1, 5), anything),
            "timeout": anything,
            "priority": anything,
            "sticky": anything,
            "shared_memory_region": anything,
        },
    ),
)
tensors = st.fixed_dictionaries(
    {"name": st.sampled_from([*TENSORS, "other"]) | anything, "shape": shapes, "datatype": st.sampled_from(DATATYPES)},
    optional={
        "data": st.one_of(st.lists(numbers, max_size=9), st.lists(st.lists(scalars, max_size=5), max_size=3), anything),
        "parameters": parameters,
        "extra": anything,
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=4) | anything},
    optional={
        "id": st.text(max_size=5) | anything,
        "parameters": parameters,
        "outputs": st.one_of(
            st.lists(
                st.fixed_dictionaries(
                    {"name": st.sampled_from(["probabilities", "sum", "other"]) | anything},
                    optional={"parameters": parameters},
                ),
                max_size=3,
            ),
            anything,
        ),
        "extra": anything,
    },
)
models = st.sampled_from(["vector", "table", "number"])
lengths = st.none() | st.integers(-5, 220) | st.text("0123456789 x-", max_size=25)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@FUZZ
@given(
    model=models,
    content=st.binary(max_size=200),
    header=st.none() | st.integers(-5, 220) | st.text("0123456789 x-", max_size=25),
)
def test_any_bytes(bench: Bench, model: str, content: bytes, header: int | str | None) -> None:
    headers = {} if header is None else {"Inference-Header-Content-Length": str(header).strip()}
    assert check(bench, model, content, headers) != 200


@FUZZ
@given(model=models, request=requests, tail=st.binary(max_size=40), with_header=st.booleans())
def test_any_structure(bench: Bench, model: str, request: Any, tail: bytes, with_header: bool) -> None:
    head = json.dumps(request).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if with_header else {}
    assert check(bench, model, head + (tail if with_header else b""), headers)


@FUZZ
@given(at=st.integers(0, 200), replacement=st.binary(max_size=3), cut=st.integers(0, 3))
def test_a_good_request_with_a_few_bytes_changed(bench: Bench, at: int, replacement: bytes, cut: int) -> None:
    good = json.dumps({**GOOD, "id": "7", "parameters": {"a": [1, {"b": None}]}}).encode()
    place = at % len(good)
    assert check(bench, "vector", good[:place] + replacement + good[place + cut :])


@FUZZ
@given(data=st.data(), coding=st.sampled_from(["gzip", "deflate"]))
def test_a_compressed_request_with_a_few_bytes_changed(bench: Bench, data: st.DataObject, coding: str) -> None:
    packed = (gzip.compress if coding == "gzip" else zlib.compress)(json.dumps(GOOD).encode())
    place = data.draw(st.integers(0, len(packed)))
    changed = packed[:place] + data.draw(st.binary(max_size=3)) + packed[place + data.draw(st.integers(0, 3)) :]
    assert check(bench, "vector", changed, {"content-encoding": coding})


def test_the_models_are_those_of_the_strategies(bench: Bench) -> None:
    features = [feature for served in (serving_models.VECTOR, serving_models.TABLE) for feature in served.inputs]
    assert {feature.name: feature.dtype.v2 for feature in features} == TENSORS
