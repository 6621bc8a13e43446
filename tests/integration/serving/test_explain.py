"""Explanations by a real serving process of the example's model (41 mixed features), beside a real registry."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import psutil
import pytest

from schemas.events import Route
from schemas.jobs import TrainingJob
from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import read_manifest
from services.trainer.workspace import RESULT_NAME, TASK_NAME, VERSION_NAME, Result, Task
from tests.integration.serving.conftest import Cluster, Replica
from tests.registry_process import RegistryProcess
from tests.waiting import until
from trimtab import Client

EXAMPLE = Path(__file__).parents[3] / "examples" / "threats" / "data.py"
MODEL = "threats"
EPOCHS = 2
SIGNATURE = "signature.json"
SHAP_MODULES = ("/shap/", "/numba/", "/llvmlite/", "/sklearn/", "/pandas/")


def example() -> ModuleType:
    """`examples/threats/data.py`."""
    spec = importlib.util.spec_from_file_location("threats_data", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def threats(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The example's model as the trainer makes it, in fewer epochs, and rows of held-back traffic."""
    folder = tmp_path_factory.mktemp("threats")
    files = example().prepare(folder / "data")
    job = json.loads(files.job.read_text())
    job["trainingConfig"]["epochs"] = EPOCHS
    workspace = folder / "job"
    workspace.mkdir()
    task = Task(job_id="job-1", job=TrainingJob.model_validate(job), created_at=datetime(2026, 1, 1, tzinfo=UTC))
    (workspace / TASK_NAME).write_text(task.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "services.trainer.child", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (workspace / RESULT_NAME).exists(), done.stderr[-3000:]
    assert Result.model_validate_json((workspace / RESULT_NAME).read_bytes()).failure is None
    rows = [row for row, _ in example().requests(files.calm)[:200]]
    version = workspace / VERSION_NAME
    manifest = read_manifest((version / MANIFEST_NAME).read_bytes())
    (workspace / SIGNATURE).write_text(manifest.signature.model_dump_json())
    (version / MANIFEST_NAME).unlink()  # the registry writes its own
    return version, rows


@pytest.fixture
async def registry(cluster: Cluster) -> AsyncIterator[RegistryProcess]:
    """A registry over the cluster's artifact store."""
    process = await asyncio.to_thread(RegistryProcess, cluster.settings.data_dir)
    yield process
    process.kill()


async def deployed(
    cluster: Cluster, registry: RegistryProcess, folder: Path, versions: int = 1, **environment: str
) -> Replica:
    """Register the folder as `versions` versions, serve the last one."""

    def register(description: str) -> dict[str, Any]:
        with Client(registry.url) as client:
            answer: dict[str, Any] = client.register_model(
                folder,
                model_id=MODEL,
                signature=json.loads((folder.parent / SIGNATURE).read_text()),
                description=description,
            )
            return dict(client.version(MODEL, answer["version"]))

    for number in range(versions):
        found = await asyncio.to_thread(register, f"number {number}")
    route = Route(
        name="production",
        version=found["version"],
        weight=100,
        artifact=found["artifact"],
        manifest_digest=found["manifest_digest"],
    )
    await cluster.want(MODEL, route)
    return cluster.start(
        TRIMTAB_REGISTRY_URL=registry.url, TRIMTAB_SERVING_EXPLAIN_TIMEOUT_SECONDS="100", **environment
    )


def child_of(replica: Replica) -> psutil.Process | None:
    """The explaining process of a replica."""
    children = psutil.Process(replica.process.pid).children()
    return next((child for child in children if any("explain/start.py" in word for word in child.cmdline())), None)


def held_modules(pid: int) -> list[str]:
    """Libraries of the explaining child that a process has mapped."""
    mapped = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in SHAP_MODULES if f"site-packages{name}" in mapped]


@pytest.mark.timeout(420)
async def test_the_examples_model_is_explained(
    cluster: Cluster,
    registry: RegistryProcess,
    client: httpx.AsyncClient,
    threats: tuple[Path, list[dict[str, Any]]],
    record_property: Any,
) -> None:
    """Both methods, beside a prediction, the importance and its trend; how long each took is told with the result."""
    folder, rows = threats
    replica = await deployed(cluster, registry, folder, versions=2, TRIMTAB_SERVING_EXPLAIN_IMPORTANCE_ROWS="60")
    await replica.ready(client)
    url, took = replica.url, {}

    async def explain(name: str, **request: Any) -> dict[str, Any]:
        begun = time.perf_counter()
        answer = await client.post(f"{url}/mlops/explain", json={"modelId": MODEL, **request})
        took[name] = round(time.perf_counter() - begun, 3)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    first = await explain("the first, with the start of the child", input=rows[0])
    assert first["additivity_error"] < 1e-5
    assert len(first["contributions"]) == 41
    assert (first["algorithm"], first["background_rows"]) == ("permutation", 100)
    again = await explain("one row, shapley", input=rows[0])
    assert again["contributions"] == first["contributions"]
    lime = await explain("one row, lime", input=rows[0], method="lime")
    assert 0 < lime["fidelity"] <= 1
    many = await explain("eight rows, shapley", inputs=rows[:8])
    assert max(one["additivity_error"] for one in many["explanations"]) < 1e-5

    predicted = await client.post(f"{url}/mlops/predict", json={"modelId": MODEL, "input": rows[1], "explain": True})
    answer = predicted.json()
    assert answer["explanation"]["probabilities"] == answer["probabilities"]

    begun = time.perf_counter()

    async def importance() -> dict[str, Any] | None:
        found = await client.get(f"{url}/mlops/models/{MODEL}/importance", params={"limit": 5})
        assert found.status_code in (200, 202), found.text
        return found.json() if found.status_code == 200 else None

    document = await until(importance, 120, "the importance")
    assert document is not None
    took["importance of 60 rows"] = round(time.perf_counter() - begun, 3)
    assert (len(document["features"]), document["feature_count"], document["rows"]) == (5, 41, 60)
    assert document["features"][0]["importance"] > 3 * document["features"][0]["standard_error"] > 0

    async def trend() -> dict[str, Any] | None:
        found = await client.get(f"{url}/mlops/models/{MODEL}/importance/trend")
        assert found.status_code == 200, found.text
        return found.json() if not found.json()["pending"] else None

    whole = await until(trend, 120, "the trend")
    assert whole is not None
    assert len(whole["versions"]) == 2
    assert whole["features"][0]["change"] == 0  # the same model twice
    assert whole["failed"] == {}

    child = child_of(replica)
    assert child is not None
    assert held_modules(replica.process.pid) == []
    assert held_modules(child.pid) != []
    record_property("seconds", took)
    print(json.dumps(took))  # noqa: T201 - what `pytest -s` is asked for


@pytest.mark.timeout(240)
async def test_the_child_dies_with_the_server(
    cluster: Cluster, registry: RegistryProcess, client: httpx.AsyncClient, threats: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, rows = threats
    replica = await deployed(cluster, registry, folder)
    await replica.ready(client)
    await client.post(f"{replica.url}/mlops/explain", json={"modelId": MODEL, "input": rows[0]})
    child = child_of(replica)
    assert child is not None
    replica.kill()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "the child is gone")


@pytest.mark.timeout(240)
async def test_a_stopping_server_leaves_no_child_and_predictions_go_on_without_one(
    cluster: Cluster, registry: RegistryProcess, client: httpx.AsyncClient, threats: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, rows = threats
    replica = await deployed(cluster, registry, folder)
    await replica.ready(client)
    await client.post(f"{replica.url}/mlops/explain", json={"modelId": MODEL, "input": rows[0]})
    child = child_of(replica)
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    asked = asyncio.ensure_future(
        client.post(f"{replica.url}/mlops/explain", json={"modelId": MODEL, "input": rows[0]})
    )
    predicted = await client.post(f"{replica.url}/mlops/predict", json={"modelId": MODEL, "input": rows[0]})
    assert predicted.status_code == 200
    os.kill(child.pid, signal.SIGKILL)
    died = await asked
    assert (died.status_code, died.json()["code"]) == (503, "explainer-died")
    assert died.headers["retry-after"]
    healed = await client.post(f"{replica.url}/mlops/explain", json={"modelId": MODEL, "input": rows[0]})
    assert healed.status_code == 200
    second = child_of(replica)
    assert second is not None
    assert await replica.terminate() == 0
    assert not second.is_running()


@pytest.mark.timeout(240)
async def test_versions_that_are_not_deployed_and_routes_that_are_none(
    cluster: Cluster, registry: RegistryProcess, client: httpx.AsyncClient, threats: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, rows = threats
    replica = await deployed(cluster, registry, folder, versions=2)
    await replica.ready(client)
    listed = (await client.get(f"{registry.url}/mlops/models/{MODEL}")).json()["versions"]
    newest, older = (one["version"] for one in listed)
    request = {"modelId": MODEL, "input": rows[0]}
    answers = [
        (await client.post(f"{replica.url}/mlops/explain", json=about)).json()["version"]
        for about in (request, {**request, "version": older})
    ]
    assert answers == [newest, older]
    missing = await client.post(f"{replica.url}/mlops/explain", json={**request, "version": "9.9.9"})
    assert missing.status_code == 404
    nobody = await client.get(f"{replica.url}/mlops/models/nobody/importance")
    assert nobody.status_code == 404
    wrong = await client.post(f"{replica.url}/mlops/models/{MODEL}/importance", json={})
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
