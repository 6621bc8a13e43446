"""Registering over HTTP: numbers, idempotency, refusals; nothing half-visible."""

import asyncio
import gzip
import hashlib
import json
import pickle
from datetime import UTC, datetime

import numpy as np
import pytest
import sqlalchemy as sa
from onnx import TensorProto, helper, numpy_helper

from schemas.events import ModelRegistered
from services.kernel.artifacts import blob_key
from services.kernel.db import Database
from services.kernel.uow import Work
from services.registry import audit, versions
from services.registry.model import parse_version
from services.registry.tables import versions as versions_table
from tests.contract.registry.conftest import Registry
from tests.golden.registry_database import manifest
from tests.graphs import classifier, one_op


def today() -> str:
    return f"{datetime.now(UTC):%Y%m%d}"


async def test_a_version_is_registered_as_a_draft(registry: Registry) -> None:
    answer = await registry.register(
        model_name="STRIDE Threat Classifier",
        model_type="threat-classifier",
        metrics={"accuracy": 0.95, "f1Score": 0.93},
        hyperparameters={"learning_rate": 0.001},
        tags={"team": "blue"},
        classes=["a", "b", "c"],
        files={"baseline.json": b"{}", "notes/README.md": b"hello"},
    )
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["version"] == f"1.0.{today()}"
    assert body["stage"] == "draft"
    assert body["metrics"] == {"accuracy": 0.95, "f1Score": 0.93}
    assert body["signature"]["classes"] == ["a", "b", "c"]
    assert [feature["name"] for feature in body["signature"]["inputs"]] == ["duration", "protocol"]
    assert {file["path"] for file in body["files"]} == {"model.onnx", "baseline.json", "notes/README.md"}
    assert body["has_baseline"]
    assert body["parent_version"] is None
    read = await registry.client.get(f"/mlops/models/threat-classifier/{body['version']}")
    assert read.json() == body
    [event] = await registry.events()
    assert isinstance(event, ModelRegistered)
    assert (event.version, event.manifest_digest) == (body["version"], body["manifest_digest"])
    assert [item.key for item in registry.store.list(event.artifact)] == [f"{event.artifact}/manifest.json"]
    assert sorted(item.key for item in registry.store.list("blobs")) == sorted(
        blob_key(file["sha256"]) for file in body["files"]
    )


async def test_the_manifest_is_what_its_digest_says(registry: Registry) -> None:
    version = await registry.version(0)
    answer = await registry.client.get(f"/mlops/models/threat-classifier/{version}/manifest")
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    body = (await registry.client.get(f"/mlops/models/threat-classifier/{version}")).json()
    assert registry.store.get_bytes(f"{body['artifact']}/manifest.json") == answer.content


async def test_the_second_of_a_day_is_the_next_minor(registry: Registry) -> None:
    assert [await registry.version(seed) for seed in range(3)] == [f"1.{minor}.{today()}" for minor in range(3)]


async def test_a_version_may_be_chosen(registry: Registry) -> None:
    answer = await registry.register(version="3.1.4")
    assert (answer.status_code, answer.json()["version"]) == (201, "3.1.4")
    assert await registry.version(1) == f"3.1.{today()}"


async def test_the_same_again_is_the_same_version(registry: Registry) -> None:
    first = await registry.register(metrics={"accuracy": 0.9})
    again = await registry.register(metrics={"accuracy": 0.9})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert len(await registry.events(ModelRegistered)) == 1
    assert len([item for item in registry.store.list("models") if item.key.endswith("manifest.json")]) == 1
    by_number = await registry.register(metrics={"accuracy": 0.9}, version=first.json()["version"])
    assert by_number.status_code == 200


async def test_a_version_never_changes(registry: Registry) -> None:
    first = await registry.register(version="1.0.0")
    other_content = await registry.register(graph=classifier(1), version="1.0.0")
    other_number = await registry.register(version="2.0.0")
    assert (first.status_code, other_content.status_code, other_number.status_code) == (201, 409, 409)
    assert "never change" in other_content.json()["detail"]
    assert "1.0.0" in other_number.json()["detail"]
    assert len([item for item in registry.store.list("models") if item.key.endswith("manifest.json")]) == 1


async def test_the_same_files_under_another_record_may_have_any_free_number(registry: Registry) -> None:
    first = await registry.register(version="1.0.0")
    second = await registry.register(version="2.0.0", description="trained anew, with the same outcome")
    assert (first.status_code, second.status_code) == (201, 201), second.text
    assert first.json()["content_digest"] == second.json()["content_digest"]
    taken = await registry.register(version="1.0.0", description="a third")
    assert (taken.status_code, "holds something else" in taken.json()["detail"]) == (409, True)


async def test_the_parent_is_what_is_in_production(registry: Registry) -> None:
    version = await registry.version(0, "staging", "production")
    answer = await registry.register(graph=classifier(1))
    assert answer.json()["parent_version"] == version


def gapless(found: list[str]) -> None:
    assert sorted(found, key=parse_version) == [f"1.{minor}.{today()}" for minor in range(len(found))]


async def test_many_uploads_at_once(registry: Registry) -> None:
    """No gap, no duplicate, no error."""
    answers = await asyncio.gather(*(registry.register(graph=classifier(seed)) for seed in range(8)))
    assert [answer.status_code for answer in answers] == [201] * 8
    gapless([answer.json()["version"] for answer in answers])
    assert await registry.service.db.read(audit.broken_at) is None


async def test_fifty_registrations_at_once_by_two_registries(registry: Registry) -> None:
    """The numbers are allotted under a lock of the database, so more than one process may do it."""
    other = Database(registry.service.db.url, "registry")
    works = [registry.service.work, Work(other, "registry")]

    async def one(number: int) -> str:
        record = manifest(number)
        row, created = await works[number % 2].run(
            lambda uow: versions.register(
                uow, record, manifest_digest=record.manifest_digest, artifact=f"models/m/{number}", actor="test"
            )
        )
        assert created
        return str(row.version)

    found = await asyncio.gather(*(one(number) for number in range(50)))
    other.close()
    gapless(found)
    assert sorted(event.version for event in await registry.events(ModelRegistered)) == sorted(found)
    assert await registry.service.db.read(audit.broken_at) is None


async def test_many_of_the_same_at_once(registry: Registry) -> None:
    answers = await asyncio.gather(*(registry.register() for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["version"] for answer in answers}) == 1
    assert len([item for item in registry.store.list("models") if item.key.endswith("manifest.json")]) == 1


async def test_an_answer_of_the_database_that_is_lost_costs_no_version(registry: Registry) -> None:
    """The connection breaks just after the COMMIT: nobody hears of it, and the version is there, whole."""
    lost: list[bool] = []

    def commit_and_break(connection: sa.Connection) -> None:
        names = sa.select(versions_table.c.version)
        if not lost and connection.execute(names).first() is not None:
            lost.append(True)
            driver = connection.connection.dbapi_connection
            assert driver is not None
            driver.cursor().execute("COMMIT")
            raise sa.exc.OperationalError("COMMIT", None, ConnectionError("the server closed the connection"))

    engine = registry.service.db._write_engine
    sa.event.listen(engine, "commit", commit_and_break)
    first = await registry.register()
    sa.event.remove(engine, "commit", commit_and_break)
    assert (first.status_code, first.json()["code"], lost) == (503, "database-unavailable", [True])
    again = await registry.register()
    assert again.status_code == 200
    verdict = await registry.client.post(f"/mlops/models/threat-classifier/{again.json()['version']}/verify")
    assert verdict.json()["state"] == "ok", verdict.text


async def test_idempotency_key(registry: Registry) -> None:
    headers = {"Idempotency-Key": "upload-1"}
    first = await registry.register(headers=headers)
    again = await registry.register(headers=headers)
    other = await registry.register(graph=classifier(1), headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json() == again.json()


async def test_metrics_that_are_not_numbers(registry: Registry) -> None:
    answer = await registry.client.post(
        "/mlops/models",
        data={"metadata": '{"model_id": "m", "metrics": {"accuracy": NaN}}'},
        files={"file": ("model.onnx", classifier().SerializeToString())},
    )
    assert answer.status_code == 422
    assert "metrics.accuracy" in answer.json()["detail"]


REFUSED_FILES = [
    ("model.pkl", pickle.dumps(print), 415),
    ("model.joblib", pickle.dumps(print), 415),
    ("notes.json", pickle.dumps(print), 415),
    ("notes.json", gzip.compress(pickle.dumps(print)), 415),
    ("script.py", b"print()", 415),
    ("../evil.json", b"{}", 422),
    ("/etc/evil.json", b"{}", 422),
    ("a\\b.json", b"{}", 422),
    (".hidden.json", b"{}", 422),
    ("%2e%2e/evil.json", b"{}", 422),
    ("x" * 10_000, b"{}", 422),
    ("manifest.json", b"{}", 422),
    ("baseline.json", b"{", 415),
]

REFUSED_METADATA = [
    ("{", "not JSON"),
    ("[]", ""),
    ("{}", "model_id"),
    ('{"model_id": "../x"}', "model_id"),
    ('{"model_id": "m", "version": "1.0"}', "version"),
    ('{"model_id": "m", "metricz": {}}', "metricz"),
]


class TestRefused:
    """Every refusal is a sentence, and leaves nothing in the store."""

    @pytest.fixture(autouse=True)
    async def nothing_is_left(self, registry: Registry) -> object:
        yield
        assert list(registry.store.list()) == []
        assert await registry.events() == []
        assert list(registry.service.settings.staging_dir.iterdir()) == []  # type: ignore[attr-defined]

    async def test_files(self, registry: Registry) -> None:
        for name, data, status in REFUSED_FILES:
            answer = await registry.register(files={name: data})
            assert answer.status_code == status, (name, answer.text)
            assert answer.json()["detail"]

    async def test_a_pickle_as_the_model(self, registry: Registry) -> None:
        answer = await registry.client.post(
            "/mlops/models",
            data={"metadata": '{"model_id": "m"}'},
            files={"file": ("model.onnx", pickle.dumps(print))},
        )
        assert answer.status_code == 415
        assert "convert the model to ONNX" in answer.json()["detail"]

    async def test_external_data(self, registry: Registry) -> None:
        tensor = numpy_helper.from_array(np.ones((1, 1), np.float32), "w")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../../etc/passwd")
        graph = one_op(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=(tensor,))
        answer = await registry.register(graph=graph)
        assert answer.status_code == 422
        assert "another file" in answer.json()["detail"]

    async def test_a_signature_that_does_not_fit(self, registry: Registry) -> None:
        signature = {
            "inputs": [{"name": "length", "dtype": "float32"}],
            "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [3], "role": "probabilities"}],
            "classes": ["a", "b", "c"],
        }
        answer = await registry.register(signature=signature)
        assert answer.status_code == 422
        assert "length" in answer.json()["detail"]

    async def test_metadata(self, registry: Registry) -> None:
        files = {"f": ("model.onnx", classifier().SerializeToString())}
        for metadata, says in REFUSED_METADATA:
            answer = await registry.client.post("/mlops/models", data={"metadata": metadata}, files=files)
            assert answer.status_code == 422, (metadata, answer.text)
            assert says in answer.json()["detail"]

    async def test_bodies_that_are_no_form(self, registry: Registry) -> None:
        graph = classifier().SerializeToString()
        for body, kind, status in (
            (b"{}", "application/json", 422),
            (graph, "application/octet-stream", 415),
            (pickle.dumps(print), "application/python-pickle", 415),
            (b"nonsense", "multipart/form-data; boundary=x", 422),
            (b"--x\r\n", "multipart/form-data", 422),
        ):
            answer = await registry.client.post("/mlops/models", content=body, headers={"Content-Type": kind})
            assert answer.status_code == status, answer.text

    async def test_an_upload_that_was_cut(self, registry: Registry) -> None:
        request = registry.client.build_request(
            "POST",
            "/mlops/models",
            data={"metadata": '{"model_id": "m"}'},
            files={"file": ("model.onnx", classifier().SerializeToString())},
        )
        whole = await request.aread()
        for size in (len(whole) // 2, len(whole) - 10):
            answer = await registry.client.post(
                "/mlops/models", content=whole[:size], headers={"Content-Type": request.headers["content-type"]}
            )
            assert answer.status_code == 422, size
            assert "cut off" in answer.json()["detail"]

    async def test_without_metadata_or_model(self, registry: Registry) -> None:
        no_metadata = await registry.client.post("/mlops/models", files={"f": ("model.onnx", b"\x08\x09")})
        assert "metadata" in no_metadata.json()["detail"]
        no_model = await registry.client.post(
            "/mlops/models", data={"metadata": '{"model_id": "m"}'}, files={"f": ("a.json", b"{}")}
        )
        assert (no_model.status_code, "model.onnx" in no_model.json()["detail"]) == (422, True)


async def test_one_graph_under_any_name_is_the_model(registry: Registry) -> None:
    answer = await registry.client.post(
        "/mlops/models",
        data={"metadata": json.dumps({"modelId": "m", "modelType": "t"})},
        files={"file": ("my-net.onnx", classifier().SerializeToString())},
    )
    assert answer.status_code == 201
    assert [file["path"] for file in answer.json()["files"]] == ["model.onnx"]


async def test_a_disk_that_takes_nothing_is_said_and_recovers(registry: Registry) -> None:
    staging = registry.service.settings.staging_dir  # type: ignore[attr-defined]
    staging.write_bytes(b"in the way")
    refused = await registry.register()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert "cannot be written" in refused.json()["detail"]
    staging.unlink()
    assert (await registry.register()).status_code == 201


@pytest.mark.parametrize(("data", "says"), [(b"", "is empty"), (b"no graph at all", "text.onnx")])
async def test_a_graph_that_is_none_is_called_as_it_was_sent(registry: Registry, data: bytes, says: str) -> None:
    answer = await registry.client.post(
        "/mlops/models", data={"metadata": '{"model_id": "m"}'}, files={"file": ("text.onnx", data)}
    )
    assert answer.status_code in (415, 422)
    assert "text.onnx" in answer.json()["detail"]
    assert "model.onnx" not in answer.json()["detail"]
    assert says in answer.json()["detail"]
