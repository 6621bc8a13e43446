"""What the gateway takes from devices, from whom, and what it makes of the rest; counted by a real monitor."""

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.edge import incarnation_prefix
from schemas.events import ApiKeyGranted, DeploymentWanted, Scope
from schemas.serving_options import LogPolicy, ServingOptions
from tests.integration.edge.conftest import MODEL, Site
from tests.integration.edge.test_edge import Devices, counted, edge_batches, rows
from tests.integration.monitor.harness import Monitor
from tests.waiting import until
from trimtab import AsyncClient


def upload(site: Site, first: int = 0, count: int = 10, label: str = "dos", **changes: Any) -> dict[str, Any]:
    """What a device of the site would send."""
    about = {
        "model_id": MODEL,
        "version": site.version,
        "manifest_digest": site.registered.manifest_digest,
        "signature_digest": site.signature_digest,
        "replica": "gate-7",
        "incarnation": incarnation_prefix(MODEL) + "0" * 16,
        "first_sequence": first,
        "sent_at": "2026-06-01T00:00:00Z",
        "rows": [
            {
                "time": "2026-06-01T00:00:00Z",
                "input": {"duration": 1.0, "service": "http", "count": n},
                "prediction": label,
                "probabilities": [0.0, 1.0, 0.0],
                "latency_us": 100,
            }
            for n in range(first, first + count)
        ],
    }
    return {**about, **changes}


async def post(client: httpx.AsyncClient, site: Site, document: Any, **headers: str) -> httpx.Response:
    return await client.post(f"{site.replica.url}/mlops/predictions", json=document, headers=headers)


async def test_uploads_are_taken_and_hostile_ones_are_not(site: Site, client: httpx.AsyncClient) -> None:
    taken = await post(client, site, upload(site))
    assert taken.status_code == 200, taken.text
    receipt = taken.json()
    assert (receipt["acknowledged"], receipt["rows"]) == (10, 10)
    assert abs(receipt["clock_offset_seconds"]) > 300
    assert receipt["clock_skewed_rows"] == 10
    served = await client.post(
        f"{site.replica.url}/mlops/predict",
        json={"modelId": MODEL, "input": {"duration": 1, "service": "a", "count": 1}},
    )
    own = served.json()["prediction_id"].rpartition("-")[0]
    stranger: dict[str, Any] = {"model_id": "unknown", "incarnation": incarnation_prefix("unknown") + "0" * 16}
    for document, status in (
        (upload(site, incarnation=own), 422),
        (upload(site, incarnation=incarnation_prefix("other") + "0" * 16), 422),
        (upload(site, **stranger), 404),
        (upload(site, version="9.9.9"), 404),
        (upload(site, manifest_digest="0" * 64), 409),
        (upload(site, signature_digest="0" * 64), 409),
        (upload(site, first_sequence=2**41), 422),
        (upload(site, count=1001), 413),
        (upload(site, label="theft"), 422),
        ([], 422),
        ("x", 422),
    ):
        answer = await post(client, site, document)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    overlapping = await post(client, site, upload(site, first=5, label="probe"))
    assert overlapping.status_code == 200
    found, missing, _ = counted(await edge_batches(site))
    assert ([number for _, number in found], missing) == (list(range(15)), 0)
    metrics = (await client.get(f"{site.replica.url}/mlops/metrics")).text
    assert 'ml_edge_uploads_refused_total{code="not-found"' in metrics
    assert not site.replica.events("request_failed_unexpectedly")


async def test_without_the_registry_known_versions_are_taken_and_others_wait(
    site: Site, client: httpx.AsyncClient
) -> None:
    assert (await post(client, site, upload(site))).status_code == 200
    site.registry.kill()
    assert (await post(client, site, upload(site, first=10))).status_code == 200
    waits = await post(client, site, upload(site, version="1.0.7"))
    assert (waits.status_code, "retry-after" in waits.headers) == (503, True)


async def test_only_a_key_that_may_predict_this_model_hands_over(
    site: Site, client: httpx.AsyncClient, make_device: Devices, tmp_path: Path
) -> None:
    keys = {"device": (Scope.PREDICT, "threats"), "reader": (Scope.READ, ""), "other": (Scope.PREDICT, "other-")}
    for name, (scope, prefix) in keys.items():
        digest = hashlib.sha256(f"tt_{name}".encode()).hexdigest()
        prefixes = (prefix,) if prefix else ()
        grant = ApiKeyGranted(key_id=name, name=name, sha256=digest, scopes=(scope,), model_prefixes=prefixes)
        await site.cluster.send(grant)
    guarded = site.cluster.start(
        TRIMTAB_AUTH="keys", TRIMTAB_INTERNAL_KEY="0" * 64, TRIMTAB_REGISTRY_URL=site.registry.url
    )
    await guarded.ready(client)
    site.replica = guarded
    assert (await post(client, site, upload(site))).status_code == 401
    for name, status in (("nobody", 401), ("reader", 403), ("other", 403), ("device", 200)):
        answer = await post(client, site, upload(site), Authorization=f"Bearer tt_{name}")
        assert answer.status_code == status, name
    device = make_device(site.bundle)
    await asyncio.to_thread(device.answer, "predict", "--input", json.dumps(rows(1)[0]))
    key = tmp_path / "key"
    key.write_text("tt_other\n")
    arguments = ("forward", "--to", guarded.url, "--api-key-file", str(key))
    refused = await asyncio.to_thread(device.run, *arguments)
    assert (refused.returncode, "403" in refused.stderr, "tt_other" in refused.stderr) == (1, True, False)
    key.write_text("tt_device\n")
    assert (await asyncio.to_thread(device.answer, *arguments))["forwarded"] == 1


async def test_what_a_deployment_redacts_does_not_reach_the_topic(site: Site, client: httpx.AsyncClient) -> None:
    options = ServingOptions(log=LogPolicy(redact={"service": "drop", "duration": "hash"}))
    wanted = DeploymentWanted(
        model_id=MODEL, revision=2, routes=(site.route,), since=datetime.now(UTC), options=options
    )
    await site.cluster.send(wanted, 2)

    async def redacted() -> bool:
        answer = await post(client, site, upload(site, count=1))
        assert answer.status_code == 200
        return bool((await edge_batches(site))[-1].redacted)

    await until(redacted, 20, "the options have arrived")
    batch = (await edge_batches(site))[-1]
    assert batch.redacted == ("duration", "service")
    assert "x:service" not in batch.rows.schema.names
    assert len(batch.rows.column("x:duration").to_pylist()[0]) == 32


@pytest.fixture
async def monitor(site: Site) -> AsyncIterator[Monitor]:
    """A running monitor that knows the version."""
    settings = site.cluster.settings
    one = Monitor(settings.kafka_bootstrap, settings.topic_prefix, settings.data_dir)
    await site.cluster.send(site.registered)
    one.start()
    yield one
    await asyncio.to_thread(one.kill)


async def test_the_monitor_counts_each_row_once(site: Site, monitor: Monitor, make_device: Devices) -> None:
    device = make_device(site.bundle)
    text = "\n".join(json.dumps(row) for row in rows(700))
    await asyncio.to_thread(device.run, "predict", "--file", "-", stdin=text)
    for _ in range(3):
        await asyncio.to_thread(device.answer, "forward", "--to", site.replica.url)
        (sent,) = device.log.glob("*/sent")
        sent.unlink()

    def all_seen() -> bool:
        found = monitor.model(MODEL)
        return bool(found) and found.get("repeated") == 1400

    await until(lambda: asyncio.to_thread(all_seen), 60, "three uploads are counted")
    told = await asyncio.to_thread(monitor.model, MODEL)
    assert told["versions"][site.version]["rows"] == 700
    assert (told["missing"], told["shed"]) == (0, 0)


async def test_bundles_by_the_command_line_and_the_asynchronous_client(site: Site, tmp_path: Path) -> None:
    async with AsyncClient(site.registry.url) as client:
        path = tmp_path / "async.zip"
        assert await client.export_edge(MODEL, site.version, path) == path.stat().st_size
        assert path.read_bytes() == site.bundle.read_bytes()
    command = [str(Path(sys.executable).with_name("trimtab")), "models", "export", MODEL, site.version, "--edge"]
    done = await asyncio.to_thread(
        lambda: subprocess.run(
            [*command, "--url", site.registry.url, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path
        )
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / f"{MODEL}-{site.version}-edge.zip"
    assert json.loads(done.stdout)["path"] == made.name
    assert made.read_bytes() == site.bundle.read_bytes()
    twice = await asyncio.to_thread(
        lambda: subprocess.run([*command, "a", "-o", "b"], capture_output=True, text=True, check=False, cwd=tmp_path)
    )
    assert (twice.returncode != 0, "name the file once" in twice.stderr) == (True, True)
