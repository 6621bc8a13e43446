"""`register_model` with a fitted model, by both clients: what is sent, and that nothing stays behind."""

import asyncio
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from schemas.baseline import Baseline
from schemas.baseline_sample import read_baseline_sample
from trimtab import AsyncClient, Client
from trimtab.calls import Call
from trimtab.conversion.errors import NotConvertible
from trimtab.errors import Conflict, InvalidInput


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def rows(count: int = 60) -> Any:
    """Three numbers a row."""
    return np.random.default_rng(0).normal(size=(count, 3))


def fitted() -> Any:
    """A model over `rows`."""
    return LogisticRegression().fit(rows(), rows()[:, 0] > 0)


@dataclass
class Seen:
    """What a client was about to send, read while it would have been sent."""

    files: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def take(self, call: Call) -> dict[str, str]:
        """Read the upload of a call; the answer."""
        assert call.upload is not None
        self.files = {name: path.read_bytes() for name, path in call.upload.files}
        self.metadata = json.loads(json.dumps(dict(call.upload.metadata), allow_nan=False))
        if self.metadata["model_id"] == "taken":
            raise Conflict("it is there")
        return {"version": "1.0.0"}


class Recording(Client):
    """Sends nothing."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.seen = Seen()

    def send(self, call: Call) -> Any:
        """Read what would be sent."""
        return self.seen.take(call)


class AsyncRecording(AsyncClient):
    """Sends nothing, a little later."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.seen = Seen()

    async def send(self, call: Call) -> Any:
        """Read what would be sent."""
        await asyncio.sleep(0)
        return self.seen.take(call)


async def registered(use_async: bool, model: Any, **about: Any) -> tuple[Any, Seen]:
    """The answer to `register_model`, and what was sent."""
    if use_async:
        async with AsyncRecording() as later:
            return await later.register_model(model, **about), later.seen
    with Recording() as client:
        return client.register_model(model, **about), client.seen


@pytest.mark.parametrize("use_async", [False, True])
async def test_a_model_is_sent_as_graph_baseline_and_metadata(scratch: Path, use_async: bool) -> None:
    truth = rows()[:, 0] > 0
    found, seen = await registered(
        use_async, fitted(), model_id="m", sample=rows(), labels=truth, model_name="Mine", version="1.2.0"
    )
    assert found == {"version": "1.0.0"}
    assert os.listdir(scratch) == []
    assert seen.files.keys() == {"model.onnx", "baseline.json", "baseline.parquet"}
    assert seen.metadata["model_id"] == "m"
    assert seen.metadata["version"] == "1.2.0"
    assert seen.metadata["model_name"] == "Mine"
    assert seen.metadata["signature"]["classes"] == ["False", "True"]
    assert seen.metadata["metrics"]["accuracy"] == fitted().score(rows(), truth)
    baseline = Baseline.model_validate_json(seen.files["baseline.json"])
    assert [feature.name for feature in baseline.features] == ["f0", "f1", "f2", "prediction", "prediction_score"]
    assert baseline.metrics_rows == 60
    kept = read_baseline_sample(seen.files["baseline.parquet"])
    assert kept.column_names == ["f0", "f1", "f2", "label"]
    assert kept.num_rows == 60


@pytest.mark.parametrize("use_async", [False, True])
async def test_nothing_stays_behind_when_the_server_refuses(scratch: Path, use_async: bool) -> None:
    with pytest.raises(Conflict):
        await registered(use_async, fitted(), model_id="taken", sample=rows())
    assert os.listdir(scratch) == []


@pytest.mark.parametrize("use_async", [False, True])
async def test_a_model_that_does_not_convert_is_not_sent(use_async: bool) -> None:
    with pytest.raises(NotConvertible, match="give sample="):
        await registered(use_async, fitted(), model_id="m")


async def test_a_path_takes_no_sample(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="belong to a fitted model"):
        await registered(False, tmp_path, model_id="m", sample=rows())


async def test_classes_go_with_a_path_as_before(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"graph")
    _, seen = await registered(False, graph, model_id="m", classes=("a", "b"))
    assert seen.metadata == {"model_id": "m", "classes": ["a", "b"]}
    assert seen.files == {"model.onnx": b"graph"}
