"""Import from a real MLflow 3 server: found, fetched, converted, registered; and it predicts the same."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import uvicorn
import yaml
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from schemas.features import Signature
from services.kernel.artifacts import fetch_manifest, read_file
from services.registry import versions
from tests.contract.registry.conftest import Registry
from tests.mlflow_server import MlflowServer, running_mlflow_server
from tests.waiting import until
from trimtab.async_client import AsyncClient
from trimtab.cli.root import app
from trimtab.errors import InvalidInput, NotFound, UnsupportedMedia
from trimtab.mlflow.importing import imported

pytestmark = pytest.mark.timeout(600)  # the first of them may install MLflow

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
NETWORK = """
import json, sys
import keras, numpy as np
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")])
model.save(sys.argv[1])
rows = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
print(json.dumps(model.predict(rows, verbose=0).tolist()))
"""


def flower() -> onnx.ModelProto:
    """A matrix `X` of four columns -> `probabilities` of three classes; a value within is called like a column."""
    rng = np.random.default_rng(1)
    first = numpy_helper.from_array(rng.normal(size=(4, 200)).astype(np.float32), "first")
    second = numpy_helper.from_array(rng.normal(size=(200, 3)).astype(np.float32), "second")
    nodes = [
        helper.make_node("MatMul", ["X", "first"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["petal_width"]),
        helper.make_node("MatMul", ["petal_width", "second"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", 4])]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])]
    graph = helper.make_graph(nodes, "flower", inputs, outputs, [first, second])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


class Mlflow:
    """The server, its folder, and what was logged into it."""

    def __init__(self, server: MlflowServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        onnx.save(flower(), folder / "graph.onnx")
        data = folder / "network" / "data"
        data.mkdir(parents=True)
        made = subprocess.run(
            [sys.executable, "-c", NETWORK, str(data / "model.keras")],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            capture_output=True,
            check=True,
            timeout=120,
        )
        self.network_says = np.array(json.loads(made.stdout.splitlines()[-1]))
        self.seeded: dict[str, Any] = {}
        document = {
            "flavors": {"keras": {"data": "data", "keras_backend": "tensorflow", "save_exported_model": False}},
            "signature": {"inputs": json.dumps([{"name": name, "type": "double"} for name in COLUMNS])},
        }
        (folder / "network" / "MLmodel").write_text(yaml.safe_dump(document))
        self.seeded = server.seed(folder)

    @property
    def rows(self) -> dict[str, Any]:
        """The rows that MLflow predicted, by column, as a graph takes them."""
        return {name: np.array([[row[name]] for row in self.seeded["rows"]], dtype=np.float32) for name in COLUMNS}


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    folder = tmp_path_factory.mktemp("mlflow")
    with running_mlflow_server(folder) as server:
        yield Mlflow(server, folder)


@pytest.fixture
async def address(registry: Registry) -> AsyncIterator[str]:
    """The registry's routes behind a real socket."""
    assert registry.service.app is not None
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(registry.service.app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await until(lambda: server.started, 10, "the registry's socket")
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
async def client(address: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(address) as client:
        yield client


async def graph_of(registry: Registry, model_id: str, version: str) -> ort.InferenceSession:
    """The graph that was registered, from the store."""
    row = await registry.service.db.read(lambda connection: versions.find_version(connection, model_id, version))
    manifest, _ = await asyncio.to_thread(fetch_manifest, registry.store, row.artifact, row.manifest_digest)
    (file,) = [file for file in manifest.files if file.path == "model.onnx"]
    data = await asyncio.to_thread(read_file, registry.store, row.artifact, file, 1 << 30)
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])


async def test_a_registered_version_comes_with_its_record_and_predicts_the_same(
    mlflow: Mlflow, registry: Registry, client: AsyncClient
) -> None:
    uri, run_id = mlflow.server.url, mlflow.seeded["run_id"]
    found = await client.import_mlflow("models:/iris@champion", model_id="iris", tracking_uri=uri)
    assert found["framework"] == "onnx"
    assert found["description"] == "The first that is any good."
    assert found["metrics"] == {"accuracy": 0.9}  # the loss was NaN, which MLflow 3 gives the model as 0
    assert found["hyperparameters"] == {"depth": 3, "rate": 0.1, "solver": "adam"}
    assert found["lineage"]["job_id"] == run_id
    assert found["lineage"]["dataset_digest"]
    assert found["tags"] == {
        "mlflow.source": "models:/iris/1",
        "mlflow.tracking_uri": uri,
        "mlflow.run_id": run_id,
        "mlflow.model_id": mlflow.seeded["model_id"],
        "owner": "ann",
        "team": "blue",
    }
    signature = Signature.model_validate(found["signature"])
    assert tuple(feature.name for feature in signature.inputs) == COLUMNS
    assert [feature.nullable for feature in signature.inputs] == [False, False, False, True]
    session = await graph_of(registry, "iris", found["version"])
    (said,) = session.run(["probabilities"], mlflow.rows)
    np.testing.assert_allclose(said.ravel(), mlflow.seeded["probabilities"], atol=1e-6)
    again = await client.import_mlflow("models:/iris/1", model_id="iris", tracking_uri=uri)
    assert again["version"] == found["version"]


async def test_what_the_user_says_goes_before_what_mlflow_says(
    mlflow: Mlflow, registry: Registry, client: AsyncClient
) -> None:
    found = await client.import_mlflow(
        "models:/iris/1",
        model_id="named",
        tracking_uri=mlflow.server.url,
        version="2.1.0",
        description="ours",
        classes=["a", "b", "c"],
        tags={"owner": "bob"},
    )
    assert found["version"] == "2.1.0"
    assert found["description"] == "ours"
    assert (found["tags"]["owner"], found["tags"]["team"]) == ("bob", "blue")


async def test_a_keras_model_of_a_run_is_converted_and_predicts_the_same(
    mlflow: Mlflow, registry: Registry, client: AsyncClient
) -> None:
    source = f"runs:/{mlflow.seeded['run_id']}/network"
    found = await client.import_mlflow(source, model_id="network", tracking_uri=mlflow.server.url)
    assert found["framework"] == "keras"
    assert found["tags"]["mlflow.source"] == source
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    session = await graph_of(registry, "network", found["version"])
    (said,) = session.run(["probabilities"], {name: rows[:, [at]] for at, name in enumerate(COLUMNS)})
    np.testing.assert_allclose(said, mlflow.network_says, atol=1e-5)


@pytest.mark.parametrize("form", ["models:/{model_id}", "runs:/{run_id}/flower"])
def test_a_logged_model_is_found_by_its_id_and_by_its_run(mlflow: Mlflow, form: str) -> None:
    with imported(form.format(**mlflow.seeded), tracking_uri=mlflow.server.url) as ready:
        assert ready.metadata["tags"]["mlflow.model_id"] == mlflow.seeded["model_id"]
        assert ready.metadata["metrics"] == {"accuracy": 0.9}
        session = ort.InferenceSession(ready.folder / "model.onnx", providers=["CPUExecutionProvider"])
    (said,) = session.run(["probabilities"], mlflow.rows)
    np.testing.assert_allclose(said.ravel(), mlflow.seeded["probabilities"], atol=1e-6)


def test_a_folder_needs_no_server_and_learns_more_from_one(mlflow: Mlflow, tmp_path: Path) -> None:
    (kept,) = mlflow.folder.glob(f"artifacts/*/models/{mlflow.seeded['model_id']}/artifacts")
    folder = shutil.copytree(kept, tmp_path / "model")
    with imported(str(folder)) as ready:
        assert "metrics" not in ready.metadata
        assert ready.metadata["tags"] == {
            "mlflow.run_id": mlflow.seeded["run_id"],
            "mlflow.model_id": mlflow.seeded["model_id"],
        }
        assert (ready.folder / "model.onnx").stat().st_size > 5_000  # the weights are in it
    with imported(str(folder), tracking_uri=mlflow.server.url) as ready:
        assert ready.metadata["metrics"] == {"accuracy": 0.9}


@pytest.mark.parametrize(("name", "kept"), [("in-skops", "skops"), ("in-pickle", "cloudpickle"), ("in-code", "pyfunc")])
def test_what_is_kept_as_code_is_refused_with_the_way_to_convert_it(mlflow: Mlflow, name: str, kept: str) -> None:
    with (
        pytest.raises(UnsupportedMedia, match=rf"{kept}.*not opened.*client\.register_model\(model, model_id="),
        imported(f"models:/{name}/1", tracking_uri=mlflow.server.url),
    ):
        pass


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("models:/iris/7", NotFound, "version=7"),
        ("models:/iris@nobody", NotFound, "nobody"),
        ("models:/nothing/1", NotFound, "nothing"),
        ("models:/m-0", NotFound, "m-0"),
        ("runs:/0/model", NotFound, "0"),
        ("runs:/{run_id}/nothing", NotFound, "has no model 'nothing'"),
        ("runs:/{run_id}/../../secret", InvalidInput, "no plain path"),
        ("models:/not-handed-out/1", InvalidInput, "lies in file:.*--serve-artifacts"),
    ],
)
def test_what_is_not_there_is_said(mlflow: Mlflow, source: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said), imported(source.format(**mlflow.seeded), tracking_uri=mlflow.server.url):
        pass


async def test_the_command_registers_and_prints(
    mlflow: Mlflow, registry: Registry, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.server.url)
    arguments = ["models", "import", "models:/iris/1", "--model-id", "iris", "--url", address, "--json"]
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tags"]["owner"] == "ann"
    listed = await registry.client.get("/mlops/models/iris")
    assert len(listed.json()["versions"]) == 1
