"""What MLflow's documents and servers may say, and what is made of it."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from services.kernel.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    TooLarge,
    TrimtabError,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from tests.unit.trimtab.installation import Installation, running
from trimtab.mlflow.budget import Budget
from trimtab.mlflow.files import ServedFiles, proxied_root
from trimtab.mlflow.graph import embed, join_columns, without_mappings
from trimtab.mlflow.importing import imported
from trimtab.mlflow.mlmodel import Column, read_mlmodel
from trimtab.mlflow.record import Origin, metadata_of
from trimtab.mlflow.source import parse_source
from trimtab.mlflow.tracking import Tracking

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
VERSION = "/api/2.0/mlflow/model-versions/get"
URI = "/api/2.0/mlflow/model-versions/get-download-uri"


@pytest.fixture
def server() -> Iterator[Installation]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def _nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRACKING_URI", "TRACKING_USERNAME", "TRACKING_PASSWORD", "TRACKING_TOKEN"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


def matrix(element: int = TensorProto.FLOAT, width: int = 3, name: str = "X") -> onnx.ModelProto:
    """Adds up the columns of a matrix."""
    kind = np.float32 if element == TensorProto.FLOAT else np.float64
    ones = numpy_helper.from_array(np.arange(1, width + 1, dtype=kind).reshape(width, 1), "ones")
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, "ones"], ["sum"])],
        "matrix",
        [helper.make_tensor_value_info(name, element, ["batch", width])],
        [helper.make_tensor_value_info("sum", element, ["batch", 1])],
        [ones],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write_folder(folder: Path, flavors: dict[str, Any], model: onnx.ModelProto | None = None, **more: Any) -> Path:
    """A model folder."""
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors, **more}))
    if model is not None:
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def served(server: Installation, flavors: dict[str, Any]) -> None:
    """A registered version `m/1` behind the proxy."""
    server.answer("GET", VERSION, {"model_version": {"name": "m", "version": "1", "status": "READY"}})
    server.answer("GET", URI, {"artifact_uri": "mlflow-artifacts:/1/models/m/artifacts"})
    text = yaml.safe_dump({"flavors": flavors})
    server.answer_text("GET", f"{ARTIFACTS}/1/models/m/artifacts/MLmodel", text, "text/plain")


# sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "models:/",
        "models:/m",
        "models:/m/Production",
        "models:/m/1/2",
        "models:/m@",
        "models:/@champion",
        "models://elsewhere/m/1",
        "models:/m-../../x",
        "runs:/",
        "runs:/abc",
        "runs:/../etc/passwd",
        "runs://elsewhere/abc/model",
    ],
)
def test_a_source_of_no_known_form_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(InvalidInput, match="models:/NAME/VERSION"):
        parse_source(text)


def test_a_folder_without_a_model_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="MLmodel"):
        parse_source(str(tmp_path))
    with pytest.raises(NotFound, match="there is no folder"):
        parse_source(str(tmp_path / "nothing"))


# the server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (None, "--tracking-uri"),
        ("sqlite:///mlflow.db", "mlflow server --backend-store-uri"),
        ("./mlruns", "mlflow server --backend-store-uri"),
        ("http://ann:secret@127.0.0.1:5000", "MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_what_is_no_server_is_refused_with_the_remedy(uri: str | None, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        Tracking(uri)
    assert "secret" not in caught.value.detail


def test_nobody_there_is_said() -> None:
    with Tracking("http://127.0.0.1:1") as tracking, pytest.raises(Unavailable, match="mlflow server"):
        tracking.version("m", "1")


def test_who_asks_is_told_as_mlflow_is_told(server: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    served(server, {})
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    with Tracking(server.url) as tracking:
        tracking.version("m", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    with Tracking(server.url) as tracking:
        tracking.version("m", "1")
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer t0ken", "Basic YW5uOnNlY3JldA=="]


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (302, InvalidInput, "elsewhere.example"),
        (401, Unauthenticated, "MLFLOW_TRACKING_USERNAME"),
        (403, Forbidden, "no rights"),
        (404, NotFound, "no rights"),
        (500, Unavailable, "500"),
    ],
)
def test_refusals_say_what_to_do_and_no_redirect_is_followed(
    server: Installation, status: int, kind: type[TrimtabError], said: str
) -> None:
    server.answer("GET", VERSION, {"error_code": "X", "message": "no\nrights"}, status)
    server.locations[f"{VERSION}?name=m&version=1"] = "http://elsewhere.example/login"
    with Tracking(server.url) as tracking, pytest.raises(kind, match=said):
        tracking.version("m", "1")
    assert len(server.asked) == 1


@pytest.mark.parametrize("text", ["<html>", "[]", '{"else": 1}', "[" * 100_000])
def test_another_server_is_recognised(server: Installation, text: str) -> None:
    server.answer_text("GET", VERSION, text, "application/json")
    with Tracking(server.url) as tracking, pytest.raises(InvalidInput, match="no MLflow server"):
        tracking.version("m", "1")


def test_an_endless_answer_is_cut_off(server: Installation) -> None:
    server.answer_text("GET", VERSION, " " * (9 << 20), "application/json")
    with Tracking(server.url) as tracking, pytest.raises(TooLarge):
        tracking.version("m", "1")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("file:///etc", "file:.*--serve-artifacts"),
        ("/etc", "a folder of its own"),
        ("s3://bucket/key", "s3:.*mlflow artifacts download"),
        ("http://169.254.169.254/latest", "http:"),
        ("mlflow-artifacts://elsewhere.example/1", "elsewhere.example"),
        ("mlflow-artifacts:/1/../../secret", "no plain path"),
        ("mlflow-artifacts:/1/%2e%2e/secret", "no plain path"),
        ("mlflow-artifacts:/1//secret", "no plain path"),
        ("mlflow-artifacts:/", "no plain path"),
        ("", "a folder of its own"),
    ],
)
def test_nothing_is_opened_because_a_server_says_so(location: str, said: str) -> None:
    with Tracking("http://127.0.0.1:1") as tracking, pytest.raises(InvalidInput, match=said):
        proxied_root(location, tracking)


def test_a_path_with_blanks_is_asked_for_as_it_is(server: Installation, tmp_path: Path) -> None:
    server.answer_text("GET", f"{ARTIFACTS}/1/my%20model/a.txt", "text", "text/plain")
    with Tracking(server.url + "/") as tracking:
        root = proxied_root("mlflow-artifacts:/1/my model", tracking)
        ServedFiles(tracking, root, Budget()).fetch("a.txt", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "text"


def test_a_model_over_the_budget_is_not_fetched_further(server: Installation, tmp_path: Path) -> None:
    server.answer_text("GET", f"{ARTIFACTS}/1/a", "x" * 1000, "text/plain")
    with Tracking(server.url) as tracking:
        with pytest.raises(TooLarge, match="999 bytes"):
            ServedFiles(tracking, "1", Budget(max_bytes=999)).fetch("a", tmp_path / "a")
        files = ServedFiles(tracking, "1", Budget(max_files=1))
        files.fetch("a", tmp_path / "b")
        with pytest.raises(TooLarge, match="1 files"):
            files.fetch("a", tmp_path / "c")
        with pytest.raises(Unavailable, match="was not fetched within"):
            ServedFiles(tracking, "1", Budget(max_seconds=-1)).fetch("a", tmp_path / "d")


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a\\b", ".hidden", "a//b", "%2e%2e/x", "x" * 1000])
def test_a_file_that_leads_out_of_the_model_is_never_asked_for(server: Installation, name: str) -> None:
    served(server, {"onnx": {"data": name}})
    with pytest.raises(InvalidInput, match="no plain path"), imported("models:/m/1", tracking_uri=server.url):
        pass
    assert not [asked for asked in server.asked if "secret" in asked.path or "passwd" in asked.path]


def test_a_pickle_under_the_name_of_a_graph_is_refused(server: Installation) -> None:
    served(server, {"onnx": {"data": "model.onnx"}})
    server.answers["GET", f"{ARTIFACTS}/1/models/m/artifacts/model.onnx"] = (
        200,
        "application/octet-stream",
        b"\x80\x04\x95" + struct.pack("<Q", 30) + b"cos\nsystem\n.",
    )
    with pytest.raises(UnsupportedMedia, match="pickle"), imported("models:/m/1", tracking_uri=server.url):
        pass


# folders ----------------------------------------------------------------------------------------------------------


def test_no_symbolic_link_of_a_folder_is_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(matrix().SerializeToString())
    folder = write_folder(tmp_path / "model", {"onnx": {"data": "model.onnx"}})
    (folder / "model.onnx").symlink_to(secret)
    with pytest.raises(InvalidInput, match="symbolic link"), imported(str(folder)):
        pass


@pytest.mark.parametrize(
    ("flavors", "said"),
    [
        ({"sklearn": {"pickled_model": "model.pkl"}, "python_function": {}}, "scikit-learn model, kept as pickle"),
        ({"python_function": {"loader_module": "mlflow.pyfunc.model"}}, "Python function"),
        ({"pytorch": {}, "python_function": {}}, "torch.onnx.export"),
        ({"xgboost": {"data": "model.ubj"}}, "xgboost.*client.register_model"),
        ({"keras": {"data": "data"}}, "not kept as a .keras file but as saved_model.pb"),
        ({"tensorflow": {"model_type": "tf2-module"}}, "flavour tensorflow"),
    ],
)
def test_other_flavours_are_refused_with_the_way_to_convert_them(
    tmp_path: Path, flavors: dict[str, Any], said: str
) -> None:
    folder = write_folder(tmp_path / "model", flavors)
    (folder / "data").mkdir()
    (folder / "data" / "saved_model.pb").write_bytes(b"\x08")
    with pytest.raises(UnsupportedMedia, match=said), imported(str(folder)):
        pass


def test_a_keras_model_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", {"tensorflow": {"model_type": "keras", "data": "data"}})
    (folder / "data").mkdir()
    for name in ("model.keras", "custom_objects.cloudpickle"):
        (folder / "data" / name).write_bytes(b"")
    with pytest.raises(UnsupportedMedia, match=r"custom_objects\.cloudpickle"), imported(str(folder)):
        pass


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "- 1", "flavors: {}", "flavors: 3", "\x00", "[" * 10_000, "a: !!python/object/apply:os.system []"],
)
def test_a_file_that_is_no_mlmodel_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="MLmodel"):
        read_mlmodel(text.encode())


@pytest.mark.parametrize(
    "inputs", ["{", "3", '[{"type": "tensor", "name": "x"}]', '[{"type": "double"}]', "[" * 100_000]
)
def test_a_signature_without_columns_gives_none(inputs: str) -> None:
    document = {"flavors": {"onnx": {"data": "x"}}, "signature": {"inputs": inputs}}
    assert read_mlmodel(yaml.safe_dump(document).encode()).columns == ()


# graphs -----------------------------------------------------------------------------------------------------------


def test_columns_become_inputs_with_their_own_types() -> None:
    model = matrix()
    kinds = {"long": np.int64, "double": np.float32, "boolean": np.bool_}
    assert join_columns(model, [Column(f"c_{kind}", kind) for kind in kinds])
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    row: dict[str, Any] = {f"c_{kind}": np.array([[1]], dtype=dtype) for kind, dtype in kinds.items()}
    assert session.run(None, row)[0].tolist() == [[6.0]]


def test_columns_may_be_called_as_values_of_the_graph_are() -> None:
    model = matrix(TensorProto.DOUBLE)
    assert join_columns(model, [Column(name, "double") for name in ("X", "ones", "sum")])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    row = {name: np.array([[1.0]]) for name in ("X", "ones", "sum")}
    assert session.run(None, row)[0].tolist() == [[6.0]]


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [Column("a", "double")],
        [Column("a", "double"), Column("b", "double"), Column("c", "string")],
        [Column("a", "double"), Column("a", "double"), Column("b", "double")],
        [Column("a", "double"), Column("b", "double"), Column("", "double")],
    ],
)
def test_columns_that_do_not_fit_leave_the_matrix_as_it_is(columns: list[Column]) -> None:
    model = matrix()
    before = model.SerializeToString()
    assert not join_columns(model, columns)
    assert model.SerializeToString() == before


def test_a_list_of_mappings_becomes_the_tensor_it_is_made_of() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Softmax", ["X"], ["probabilities"]),
            helper.make_node(
                "ZipMap", ["probabilities"], ["said"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"]
            ),
        ],
        "zipped",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", 2])],
        [
            helper.make_value_info(
                "said",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
                ),
            )
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    assert without_mappings(model) == ("no", "yes")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (said,) = session.run(["probabilities"], {"X": np.zeros((1, 2), np.float32)})
    assert said.tolist() == [[0.5, 0.5]]


def outside(tensor: onnx.TensorProto, **told: str) -> None:
    """Let the tensor's data lie in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in told.items():
        tensor.external_data.add(key=key, value=value)


def test_data_beside_the_graph_is_put_into_it(tmp_path: Path) -> None:
    model = matrix()
    data = model.graph.initializer[0].raw_data
    outside(model.graph.initializer[0], location="weights", offset="4", length=str(len(data)))
    (tmp_path / "weights").write_bytes(b"...." + data + b"...")
    assert embed(model, lambda location: tmp_path / location)
    assert model.graph.initializer[0].raw_data == data
    assert not embed(model, lambda location: tmp_path / location)


@pytest.mark.parametrize(
    "told",
    [
        {"location": "weights", "offset": "8", "length": "12"},
        {"location": "weights", "offset": "-1"},
        {"location": "weights", "length": "1e9"},
        {"location": "weights", "offset": "99999999999999999999"},
        {"location": "weights", "offset": "13"},
    ],
)
def test_data_beyond_its_file_is_refused(tmp_path: Path, told: dict[str, str]) -> None:
    model = matrix()
    outside(model.graph.initializer[0], **told)
    (tmp_path / "weights").write_bytes(b"x" * 12)
    with pytest.raises(InvalidInput):
        embed(model, lambda location: tmp_path / location)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "", "a/../../b"])
def test_data_in_a_file_outside_the_model_is_refused(tmp_path: Path, location: str) -> None:
    model = matrix()
    outside(model.graph.initializer[0], location=location)
    folder = write_folder(tmp_path / "model", {"onnx": {"data": "model.onnx"}}, model)
    (tmp_path / "secret").write_bytes(b"x" * 12)
    with pytest.raises(InvalidInput, match="no plain path"), imported(str(folder)):
        pass


def test_the_same_bytes_named_a_thousand_times_are_no_larger_graph(tmp_path: Path) -> None:
    model = matrix()
    weights = tmp_path / "weights"
    with weights.open("wb") as file:
        file.truncate(1 << 26)
    del model.graph.initializer[:]
    for number in range(40):
        tensor = model.graph.initializer.add(name=f"t{number}", data_type=1, dims=[1 << 24])
        outside(tensor, location="weights")
    with pytest.raises(TooLarge):
        embed(model, lambda location: weights)


def test_what_is_said_of_a_value_that_lost_its_name_is_forgotten() -> None:
    model = matrix(name="c")
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, ["batch", 3]))
    assert join_columns(model, [Column(name, "double") for name in "abc"])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    row = {name: np.array([[1.0]], np.float32) for name in "abc"}
    assert session.run(None, row)[0].tolist() == [[6.0]]


# the record -------------------------------------------------------------------------------------------------------


def test_what_the_registry_would_not_take_is_left_out() -> None:
    run = {
        "info": {"run_id": "../no name"},
        "data": {
            "metrics": [
                {"key": "loss", "value": "NaN"},
                {"key": "auc", "value": 0.5},
                {"key": " blank", "value": 1.0},
                {"key": "x" * 1000, "value": 1.0},
                {"value": 1.0},
                "odd",
            ],
            "params": [
                {"key": "depth", "value": "3"},
                {"key": "nul", "value": "a\0b"},
                {"key": "none", "value": "None"},
            ],
            "tags": [{"key": f"t{number}", "value": "x" * 10_000} for number in range(200)],
        },
        "inputs": {"dataset_inputs": [{"dataset": {"digest": "one"}}, {"dataset": {"digest": "two"}}]},
    }
    found = metadata_of(Origin(run=run), read_mlmodel(b"flavors: {onnx: {data: x}}"), "onnx")
    assert found["metrics"] == {"auc": 0.5}
    assert found["hyperparameters"] == {"depth": 3, "none": None}
    assert len(found["tags"]) == 100
    assert max(map(len, found["tags"].values())) == 5000
    assert "lineage" not in found
    json.dumps(found, allow_nan=False)


def test_what_is_said_of_the_version_goes_before_what_is_said_of_its_run() -> None:
    def tagged(owner: str) -> list[dict[str, str]]:
        return [{"key": "owner", "value": owner}, {"key": owner, "value": "there"}]

    origin = Origin(
        version={"tags": tagged("version")},
        logged={"info": {"tags": tagged("model")}, "data": {"params": [{"key": "depth", "value": "2"}]}},
        run={"data": {"tags": tagged("run"), "params": [{"key": "depth", "value": "1"}]}},
    )
    found = metadata_of(origin, read_mlmodel(b"flavors: {onnx: {data: x}}"), "onnx")
    assert found["tags"] == {"owner": "version", "version": "there", "model": "there", "run": "there"}
    assert found["hyperparameters"] == {"depth": 2}


@pytest.mark.parametrize("odd", [[], "text", 3, [[]], {"info": []}, {"info": {"artifact_uri": {}}}])
@pytest.mark.parametrize("source", ["models:/m/1", "models:/m@a", "models:/m-1", "runs:/1/m"])
def test_answers_of_odd_shapes_are_an_error_of_ours(server: Installation, source: str, odd: Any) -> None:
    for path, member in (
        (VERSION, "model_version"),
        ("/api/2.0/mlflow/registered-models/alias", "model_version"),
        ("/api/2.0/mlflow/logged-models/m-1", "model"),
        ("/api/2.0/mlflow/runs/get", "run"),
    ):
        server.answer("GET", path, {member: odd})
    server.answer("GET", URI, {"artifact_uri": odd})
    with pytest.raises(TrimtabError), imported(source, tracking_uri=server.url):
        pass


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", {"onnx": {"data": "x" * 200 + "/" + "y" * 200}})
    (folder / ("x" * 200)).write_text("no folder")
    with pytest.raises(TrimtabError), imported(str(folder)):
        pass
