"""TensorFlow SavedModels through the routes: registered whole, refused by name, never opened twice."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.registry.untrusted import inspections
from tests.contract.registry.conftest import Registry
from tests.registry_process import RegistryProcess
from tests.serving_models import EVERY
from trimtab import Client

pytestmark = pytest.mark.timeout(300)  # processes with TensorFlow, which take seconds to start


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


async def register(registry: Registry, files: dict[str, bytes], **metadata: Any) -> httpx.Response:
    return await registry.client.post(
        "/mlops/models",
        data={"metadata": json.dumps({"model_id": "tf", "changes": "a test's", **metadata})},
        files=[("file", (name, data)) for name, data in files.items()],
        timeout=120,
    )


async def test_a_savedmodel_is_registered_whole(
    registry: Registry, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = await asyncio.to_thread(files_of, saved / "every")
    signature = EVERY.model_dump(mode="json")
    answer = await register(registry, {**files, "readme.md": b"about it"}, signature=signature)
    assert answer.status_code == 201, answer.text
    version = answer.json()
    assert version["framework"] == "tensorflow"
    manifest = (await registry.client.get(f"/mlops/models/tf/{version['version']}/manifest")).json()
    assert {file["path"]: file["is_model"] for file in manifest["files"]} == {
        **dict.fromkeys(files, True),
        "readme.md": False,
    }

    def never(*_: Any) -> None:
        raise AssertionError("it was opened twice")

    monkeypatch.setattr(inspections, "inspect_saved_model", never)
    named = [{"path": name, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for name, d in files.items()]
    metadata = {"model_id": "tf", "changes": "by digest", "framework": "keras", "signature": signature}
    document = {"metadata": metadata, "files": named}
    again = await registry.client.post("/mlops/models", json=document)
    assert again.status_code == 201, again.text
    assert again.json()["framework"] == "keras"


async def test_what_no_version_may_hold(registry: Registry, saved: Path) -> None:
    files = await asyncio.to_thread(files_of, saved / "vector")
    both = await register(registry, {**files, "model.onnx": b"\x08\x01"})
    assert (both.status_code, both.json()["detail"]) == (
        422,
        "a version has one model: send model.onnx or a SavedModel, not both",
    )
    without = await register(registry, {name: data for name, data in files.items() if name != "saved_model.pb"})
    assert without.status_code == 422
    assert "model is missing" in without.json()["detail"]
    odd = await register(registry, {**files, "assets/words.vocab": b"a"})
    assert odd.status_code == 415
    alone = await register(registry, {"saved_model.pb": files["saved_model.pb"]})
    assert alone.status_code == 422
    assert "variables are missing" in alone.json()["detail"]


async def test_a_signature_is_held_against_the_savedmodel(registry: Registry, saved: Path) -> None:
    files = await asyncio.to_thread(files_of, saved / "vector")
    signature = {
        "inputs": [{"name": "x", "dtype": "int64", "shape": [4]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [3]}],
    }
    answer = await register(registry, files, signature=signature)
    assert answer.status_code == 422
    assert "float32 in the graph, not int64" in answer.json()["detail"]
    good = await register(registry, files, classes=["normal", "dos", "probe"])
    assert good.status_code == 201
    assert good.json()["signature"]["classes"] == ["normal", "dos", "probe"]


def test_the_sdk_registers_a_graph_where_a_savedmodel_converts(saved: Path, tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process, Client(process.url) as client:
        found = client.register_model(saved / "vector", model_id="vector", classes=["a", "b", "c"])
        graphs = {file["path"] for file in client.manifest("vector", found["version"])["files"]}
    assert (graphs, found["framework"]) == ({"model.onnx"}, "tensorflow")
    assert found["tags"]["onnx"] == "converted from a SavedModel"
    assert found["signature"]["classes"] == ["a", "b", "c"]


def test_the_sdk_registers_a_savedmodel_that_does_not_convert(saved: Path, tmp_path: Path) -> None:
    with RegistryProcess(tmp_path) as process, Client(process.url) as client:
        found = client.register_model(saved / "every", model_id="every", signature=EVERY.model_dump(mode="json"))
        whole = {file["path"] for file in client.manifest("every", found["version"])["files"] if file["is_model"]}
    assert whole == set(files_of(saved / "every"))
    assert found["tags"]["onnx"].startswith("not converted: tf2onnx can't convert it")
