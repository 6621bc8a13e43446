"""Requests that mean harm: an answer below 500 with a sentence, on every database."""

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import pytest
from onnx import helper

from services.kernel.errors import InvalidInput
from services.registry.untrusted import inspections
from tests import keras_archives
from tests.contract.registry.conftest import Registry
from tests.contract.registry.test_archives import Members, consistent, exported, imported, members_of, tar_of
from tests.graphs import classifier, one_op

NUL = "a\0b"


def cursor(*position: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/mlops/models?name=%00", None),
    ("GET", f"/mlops/models?cursor={cursor(NUL)}", None),
    ("GET", "/mlops/models?cursor=%00", None),
    ("GET", "/mlops/models?cursor=é", None),
    ("GET", f"/mlops/models/m?cursor={cursor(10**30, 0, 0)}", None),
    ("GET", f"/mlops/models/m/history?cursor={cursor(10**30)}", None),
    ("GET", f"/mlops/models/m/history?cursor={cursor(True)}", None),
    ("GET", "/mlops/models/m/history?at=2026-01-01T00:00:00%2B01:00", None),
    ("GET", "/mlops/models/m/history?at=yesterday", None),
    ("GET", "/mlops/models/%00", None),
    ("GET", "/mlops/models/m/1.0.99999999999999999999", None),
    ("GET", "/mlops/deployments/m/history?before=99999999999999999999999", None),
    ("GET", "/mlops/models?limit=99999999999999999999999", None),
    ("POST", "/mlops/models/m/VERSION/promote", {"stage": "staging", "comment": NUL}),
    ("POST", "/mlops/models/m/VERSION/promote", {"stage": "staging", "comment": "x" * 3000}),
    ("POST", "/mlops/models/m/VERSION/promote", {"stage": NUL}),
    ("POST", "/mlops/models/m/VERSION/promote", []),
    ("POST", "/mlops/models/m/VERSION/promote", None),
    ("POST", "/mlops/models/m/VERSION/archive", {"comment": NUL}),
    ("POST", "/mlops/models/m/VERSION/archive", {"comment": {}}),
    ("POST", "/mlops/deploy", {"modelId": "m", "version": "VERSION", "canary": 1e999}),
    ("POST", "/mlops/deploy", {"modelId": "m", "weights": {}}),
    ("POST", "/mlops/deploy", {"modelId": "m", "weights": {"VERSION": float("nan")}}),
    ("POST", "/mlops/deploy", {"modelId": "m", "weights": {f"1.0.{i}": 1 for i in range(200)}}),
    ("POST", "/mlops/deploy", {"modelId": "m", "reason": NUL}),
    ("POST", "/mlops/deploy", {"modelId": NUL}),
    ("POST", "/mlops/deploy", {}),
    ("POST", "/mlops/deployments", {"modelId": "m", "routes": [{"name": "a", "version": "VERSION", "weight": -1}]}),
    (
        "POST",
        "/mlops/deployments",
        {"modelId": "m", "routes": [{"name": NUL, "version": "VERSION", "weight": 100}]},
    ),
    ("POST", "/mlops/deployments", {"modelId": "m", "routes": [], "shadow": "VERSION"}),
    ("POST", "/mlops/deployments/m/rollback", {"reason": NUL}),
    ("POST", "/mlops/deployments/m/rollback", {"reason": 7}),
    ("POST", "/mlops/deployments/nobody/rollback", {}),
    ("POST", "/mlops/keys", {"name": NUL, "scopes": ["read"]}),
    ("POST", "/mlops/keys", {"name": "x", "scopes": ["read"], "modelPrefixes": [NUL]}),
    ("DELETE", "/mlops/keys/%00", None),
]


async def test_an_answer_below_500(registry: Registry) -> None:
    version = (await registry.register("m")).json()["version"]
    for method, path, body in REQUESTS:
        content = None if body is None else json.dumps(body).replace("VERSION", version)
        answer = await registry.client.request(
            method, path.replace("VERSION", version), content=content, headers={"Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


async def test_odd_but_honest_requests(registry: Registry) -> None:
    await registry.register("m")
    for path in ("m/history?at=9999-12-31T23:59:59Z", "m/history?at=0001-01-01T00:00:00Z"):
        assert (await registry.client.get(f"/mlops/models/{path}")).json()["production_version"] is None
    assert (await registry.client.get("/mlops/models?name=%25_%5C")).json()["models"] == []


async def test_metadata_that_no_database_keeps(registry: Registry) -> None:
    for metadata in ({"model_name": NUL}, {"model_type": NUL}, {"model_type": "x" * 200}):
        assert (await registry.register("m", None, None, None, **metadata)).status_code == 422


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
async def test_a_record_of_another_registry_with_a_number_beyond_json(registry: Registry, number: str) -> None:
    """Every answer that holds it would be a 500."""
    version = (await registry.register(hyperparameters={"rate": 0.25, "sizes": [1, 2]})).json()["version"]
    data = await exported(registry, version)
    for old in (b'"rate": 0.25', b'"sizes": [1, 2]'):
        members = consistent(members_of(data), manifest={"model_id": "other"})
        new = old[: old.index(b":")] + b": " + number.encode()
        answer = await imported(registry, tar_of(changed(members, old, new)))
        assert answer.status_code == 422, answer.text
        assert "no number that JSON can tell again" in answer.json()["detail"]
    assert (await imported(registry, tar_of(consistent(members_of(data), manifest={"model_id": "other"})))).is_success


def changed(members: Members, old: bytes, new: bytes) -> Members:
    """An archive with other words in its manifest, and the digest of these in its record."""
    found = dict(members)
    assert old in found["model/manifest.json"]
    found["model/manifest.json"] = found["model/manifest.json"].replace(old, new)
    record = json.loads(found["record.json"])
    record["manifest_digest"] = hashlib.sha256(found["model/manifest.json"]).hexdigest()
    found["record.json"] = json.dumps(record).encode()
    return list(found.items())


async def test_text_that_every_database_keeps(registry: Registry) -> None:
    odd = "naïve \u2028 \U0001f600 ' \" ; -- \\ %s {} \x01"
    answer = await registry.register("m", description=odd, tags={odd: odd}, hyperparameters={odd: [odd, None]})
    assert answer.status_code == 201, answer.text
    version = answer.json()["version"]
    body = (await registry.client.get(f"/mlops/models/m/{version}")).json()
    assert body["tags"] == {odd: odd}
    moved = await registry.client.post(f"/mlops/models/m/{version}/promote", json={"stage": "staging", "comment": odd})
    assert moved.status_code == 200
    history = (await registry.client.get("/mlops/models/m/history")).json()["history"]
    assert history[0]["comment"] == odd


# files and their names --------------------------------------------------------------------------------------------

NAMES = [
    "../evil.json",
    "..\\evil.json",
    "a/../../evil.json",
    "a//evil.json",
    "/evil.json",
    "C:/evil.json",
    "file:evil.json",
    "file:///evil.json",
    "%2e%2e/evil.json",
    "%252e%252e/evil.json",
    "..%2fevil.json",
    ".evil.json",
    "~/evil.json",
    "evil\u202enosj.",
    "evil\uff0e\uff0e/x.json",
    "evíl.json",
    "evil.json ",
    "evil.json;type=x",
    "evil.json#fragment",
    "evil.json?query",
    "con:evil.json",
    "e" * 10_000 + ".json",
    "/".join("e" * 9_000) + ".json",
    "",
    ".",
    "..",
    "manifest.json",
]


async def raw_upload(registry: Registry, name: bytes, data: bytes = b"{}") -> Any:
    """A form written by hand: a client library would mend the name."""
    graph = classifier().SerializeToString()
    parts = [
        b'name="metadata"\r\n\r\n' + json.dumps({"model_id": "hostile-names"}).encode(),
        b'name="file"; filename="model.onnx"\r\n\r\n' + graph,
        b'name="file"; filename="' + name + b'"\r\n\r\n' + data,
    ]
    body = b"".join(b"--edge\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--edge--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    return await registry.client.post("/mlops/models", content=body, headers=headers)


async def test_names_of_files(registry: Registry) -> None:
    for name in [*(name.replace("\\", "\\\\").encode() for name in NAMES), b"evil\0.json", b"evil\xff.json"]:
        answer = await raw_upload(registry, name)
        assert answer.status_code in (400, 413, 415, 422), (name[:80], answer.text)
        assert answer.json()["detail"]
    assert await registry.events() == []
    assert not [*registry.service.settings.data_dir.parent.rglob("*evil*")]
    assert not [*registry.service.settings.data_dir.glob("registry-staging/*")]


async def test_a_windows_path_loses_its_folders(registry: Registry) -> None:
    """As old browsers sent it; only the file's own name is ever used."""
    for name in (b"C:\\\\Windows\\\\facts.json", b"\\\\\\\\server\\\\share\\\\facts.json"):
        answer = await raw_upload(registry, name)
        assert answer.status_code in (200, 201), answer.text
        assert [file["path"] for file in answer.json()["files"]] == ["facts.json", "model.onnx"]


async def test_names_of_models(registry: Registry) -> None:
    for model_id in [*NAMES[:-1], "a\0b", "a/b", "a b", "é", "a" * 129, 7, None, ["a"], {"a": "b"}]:
        answer = await registry.client.post(
            "/mlops/models",
            data={"metadata": json.dumps({"model_id": model_id})},
            files={"model": ("model.onnx", classifier().SerializeToString())},
        )
        assert answer.status_code in (400, 422), (model_id, answer.text)
    for path in ("..%2f..%2fetc", "%2e%2e", "a%00b", "a%5cb", "%252e%252e", "x" * 3000, "file:x", "a;b"):
        for route in (f"/mlops/models/{path}", f"/mlops/models/{path}/1.0.0/export", f"/mlops/models/m/{path}"):
            answer = await registry.client.get(route)
            assert 400 <= answer.status_code < 500, (route, answer.text)
    assert await registry.events() == []


SOURCES = {
    "source": "file:///etc",  # CVE-2023-1177, CVE-2024-3573: a file scheme, or none
    "artifact_uri": "mlflow-artifacts:/../../etc#fragment",  # CVE-2024-2928
    "storage_location": "s3://bucket/..;/..;/etc",  # CVE-2024-1483, CVE-2024-1593: parameters after a semicolon
    "run_id": "../../etc",
    "run_link": "http://169.254.169.254/",
    "path": "/etc/passwd",
    "uri": "//etc/passwd",
    "artifact": "models/another/manifest",
    "download_uri": "dbfs:/x",
    "loader_module": "os",
}


async def test_no_request_names_a_source(registry: Registry) -> None:
    """MLflow read whatever a version's `source` named, mended eleven times since 2023. Here nothing names one."""
    for member, value in SOURCES.items():
        answer = await registry.register("m", None, None, None, **{member: value})
        assert answer.status_code == 422, answer.text
        assert [found["field"] for found in answer.json()["errors"]] == [member]
    assert await registry.events() == []


async def test_nothing_is_loaded_by_what_a_request_says_of_it(registry: Registry) -> None:
    for number, framework in enumerate(("sklearn", "pytorch", "pickle", "os.system", "../../loader")):
        answer = await registry.register("m", classifier(number), None, None, framework=framework)
        assert (answer.status_code, answer.json()["framework"]) == (201, framework)
        assert [output["name"] for output in answer.json()["signature"]["outputs"]] == ["probabilities"]
        answer = await registry.register("m", None, {"model.onnx": PICKLE}, None, framework=framework)
        assert answer.status_code == 415, answer.text


# what files are, told by their bytes ------------------------------------------------------------------------------

PICKLE = pickle.dumps(print)


def zipped(name: str, data: bytes) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(name, data)
    return body.getvalue()


def joblib_file(compress: int) -> bytes:
    body = io.BytesIO()
    joblib.dump({"model": print}, body, compress=compress)
    return body.getvalue()


CONTENTS = {
    "a pickle": PICKLE,
    "a pickle in text": pickle.dumps(print, protocol=0),
    "a joblib file": joblib_file(0),
    "a compressed joblib file": joblib_file(3),
    "gzip": gzip.compress(PICKLE),
    "gzip in gzip": gzip.compress(gzip.compress(PICKLE)),
    "gzip after an empty member": gzip.compress(b"") + gzip.compress(PICKLE),
    "many gzip members": gzip.compress(b"{}") * 1000,
    "bzip2": bz2.compress(PICKLE),
    "xz": lzma.compress(PICKLE),
    "zlib": zlib.compress(PICKLE),
    "a zip": zipped("data.pkl", PICKLE),
    "gzip in a zip": zipped("model.onnx", gzip.compress(PICKLE)),
    "a pickle, then a zip": PICKLE + zipped("data.pkl", PICKLE),
    "nothing": b"",
    "an HTML page": b"<html><script>alert(1)</script></html>",
    "a program": b"\x7fELF\x02\x01\x01",
    "a script": b"#!/bin/sh\nid\n",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "NumPy": b"\x93NUMPY\x01\x00v\x00",
}


async def test_contents_under_any_name(registry: Registry) -> None:
    for name in ("model.onnx", "model.keras", "facts.json", "baseline.parquet"):
        for what, data in CONTENTS.items():
            answer = await registry.register("m", None, {name: data})
            assert answer.status_code in (415, 422), (name, what, answer.text)
            assert name in answer.json()["detail"] or "model.onnx" in answer.json()["detail"]
    for name in ("model.pkl", "model.joblib", "model.h5", "model.pt", "model.npy", "run.py", "x"):
        answer = await registry.register("m", None, {name: b"harmless"})
        assert (answer.status_code, "nothing else" in answer.json()["detail"]) == (415, True), name
    answer = await registry.register("m", None, {"saved_model.pb": b"harmless"})
    assert answer.status_code == 422, answer.text
    assert await registry.events() == []


async def test_files_that_are_two_things(registry: Registry) -> None:
    graph = classifier().SerializeToString()
    tail = zipped("data.pkl", PICKLE)
    with_comment = bytearray(tail)
    parquet = b"PAR1" + tail
    with_comment[-2:] = (8).to_bytes(2, "little")
    for name, data in (
        ("model.onnx", graph + tail),
        ("README.md", b"# Readme\n" + tail),
        ("facts.json", b"{}" + tail),
        ("facts.json", b"{}\n" + PICKLE),
        ("README.md", pickle.dumps(["x" * 100_000, print], protocol=0)),
        ("README.md", b"N0" * 150_000),
        ("README.md", b"# Readme\n" * 10_000 + b"\0"),
        ("README.md", b"# Readme\n" * 10_000 + b"\xff\xfe"),
        ("baseline.parquet", parquet + b"PAR1"),
        ("baseline.parquet", b"PAR1" + bytes(with_comment) + (20).to_bytes(4, "little") + b"PAR1"),
        ("baseline.parquet", b"PAR1" + PICKLE + b"PAR1"),
        ("baseline.parquet", b"PAR1PAR1"),
    ):
        answer = await registry.register("m", None, {name: data})
        assert answer.status_code == 415, (name, data[:20], answer.text)
    assert await registry.events() == []


async def test_graphs_and_archives_are_opened_before_they_are_kept(registry: Registry) -> None:
    graph = one_op(helper.make_node("Run", ["x"], ["y"], domain="com.evil"))
    layer = keras_archives.built_in("TFSMLayer", filepath="/tmp/x")
    for files, says in (
        ({"model.onnx": graph.SerializeToString()}, "unknown domain"),
        ({"model.onnx": classifier().SerializeToString()[:-40]}, "model.onnx"),
        ({"second/model.onnx": graph.SerializeToString()}, "unknown domain"),
        ({"model.keras": keras_archives.archive(keras_archives.model(layer))}, "TFSMLayer"),
        ({"deep/er.KERAS": keras_archives.archive(members={"../evil.txt": b"x"})}, "none of a Keras model"),
    ):
        answer = await registry.register("m", None, files)
        assert (answer.status_code, says in answer.json()["detail"]) == (422, True), answer.text
    answer = await registry.register("m", None, {"model.keras": keras_archives.archive()})
    assert answer.status_code == 201, answer.text


async def test_what_passed_is_not_opened_again(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = {"model.keras": keras_archives.archive()}
    assert (await registry.register("m", classifier(1), archive)).status_code == 201
    opened: list[Path] = []

    def inspect(path: Path, *_: object) -> Any:
        opened.append(path)
        raise InvalidInput("opened again")

    monkeypatch.setattr(inspections, "inspect_graph", inspect)
    monkeypatch.setattr(inspections, "inspect_keras", inspect)
    again = await registry.register("another", classifier(1), archive, None, description="the same files")
    assert (again.status_code, opened) == (201, [])
    assert (await registry.register("m", classifier(2))).status_code == 422
    monkeypatch.setattr(inspections, "INSPECTOR_REVISION", inspections.INSPECTOR_REVISION + 1)
    assert (await registry.register("third", classifier(1))).status_code == 422
    assert len(opened) == 2
