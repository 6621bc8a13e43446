"""From a registered version to a device and back: predicted there, counted here, each row once."""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.predictions import PredictionBatch
from services.monitor.watermark import Watermark, advance
from tests.integration.edge.conftest import MODEL, Device, EdgeProcess, Site
from tests.waiting import until

Devices = Callable[[Path], Device]


def rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Rows of the table model; some features are absent."""
    lot = random.Random(seed)
    made = []
    for _ in range(count):
        row: dict[str, Any] = {
            "duration": lot.uniform(-2, 2),
            "service": lot.choice(["http", "smtp", "ftp", "ünï"]),
            "count": lot.randrange(-3, 4),
        }
        if lot.random() < 0.5:
            row["src-bytes"] = lot.choice([None, lot.uniform(0, 2)])
        made.append(row)
    return made


def counted(batches: list[PredictionBatch]) -> tuple[list[tuple[str, int]], int, int]:
    """What the monitor counts of batches as they lie on the topic: (incarnation, number) of the rows, missing, shed."""
    marks: dict[str, Watermark] = {}
    found: list[tuple[str, int]] = []
    missing = shed = 0
    for batch in batches:
        mark = marks.get(batch.incarnation, Watermark())
        passage = advance(mark, batch.first_sequence, batch.rows.num_rows, batch.gaps)
        marks[batch.incarnation] = passage.mark
        missing, shed = missing + passage.missing, shed + passage.shed
        for start, stop in passage.new:
            found += [(batch.incarnation, batch.first_sequence + place) for place in range(start, stop)]
    return found, missing, shed


async def edge_batches(site: Site) -> list[PredictionBatch]:
    return [batch for batch in await site.cluster.batches() if batch.incarnation.startswith("edge.")]


async def test_the_device_answers_what_the_server_answers(
    site: Site, client: httpx.AsyncClient, make_device: Devices
) -> None:
    device = make_device(site.bundle)
    given = rows(300)
    text = "\n".join(json.dumps(row) for row in given)
    done = await asyncio.to_thread(device.run, "predict", "--file", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    request = {"modelId": MODEL, "inputs": given}
    server = (await client.post(f"{site.replica.url}/mlops/predict/batch", json=request)).json()["predictions"]
    assert len(answers) == len(server) == 300
    for ours, theirs in zip(answers, server, strict=True):
        assert ours["prediction"] == theirs["prediction"]
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-6)
        assert {name for name in theirs if theirs[name] is not None} <= set(ours)
    one = await asyncio.to_thread(device.answer, "predict", "--input", json.dumps(given[0]))
    assert one["probabilities"] == pytest.approx(server[0]["probabilities"], abs=1e-6)
    assert one["prediction_id"] == answers[0]["prediction_id"].rpartition("-")[0] + "-300"
    for wrong in ('{"duration": NaN, "service": "http", "count": 1}', "{", '{"x": 1}', "[1]"):
        refused = await asyncio.to_thread(device.run, "predict", "--input", wrong)
        assert (refused.returncode, refused.stdout) == (1, ""), wrong
        assert "Traceback" not in refused.stderr


async def test_rows_come_home_and_count_once_however_often_they_are_sent(site: Site, make_device: Devices) -> None:
    device = make_device(site.bundle)
    text = "\n".join(json.dumps(row) for row in [*rows(1300), {"duration": "x"}])
    done = await asyncio.to_thread(device.run, "predict", "--file", "-", stdin=text)
    assert done.returncode == 1, "one row was refused"
    ids = [json.loads(line).get("prediction_id") for line in done.stdout.splitlines()]
    forwarded = await asyncio.to_thread(device.answer, "forward", "--to", site.replica.url)
    assert forwarded == {"forwarded": 1300, "gaps": 0, "refused": 0}
    state = await asyncio.to_thread(device.answer, "status")
    assert state["lives"][0]["waiting_rows"] == 0
    assert state["lives"][0]["acknowledged"] == 1300
    again = await asyncio.to_thread(device.answer, "forward", "--to", site.replica.url)
    assert again["forwarded"] == 0
    (folder,) = [path for path in device.log.iterdir() if path.is_dir()]
    (folder / "sent").unlink()  # the device forgets that it has sent them
    await asyncio.to_thread(device.answer, "forward", "--to", site.replica.url)
    batches = await edge_batches(site)
    assert sum(batch.rows.num_rows for batch in batches) == 2600
    found, missing, shed = counted(batches)
    assert [f"{incarnation}-{number}" for incarnation, number in found] == ids[:1300]
    assert (missing, shed) == (0, 0)
    first = batches[0]
    assert first.replica == "edge.gate-7"
    assert set(first.rows.column("route").to_pylist()) == {"edge"}
    assert set(first.rows.column("version").to_pylist()) == {site.version}
    assert first.rows.schema.field("x:src-bytes").type == "float"


async def test_killed_in_the_middle_of_traffic_nothing_answered_is_lost(
    site: Site, client: httpx.AsyncClient, make_device: Devices
) -> None:
    device = make_device(site.bundle)
    device.watch(site.replica.url)
    answered: list[str] = []

    async def ask(edge: EdgeProcess, seed: int) -> None:
        for row in rows(10_000, seed):
            try:
                answer = await client.post(f"{edge.url}/predict", json={"input": row})
            except httpx.TransportError:
                return
            assert answer.status_code == 200
            answered.append(answer.json()["prediction_id"])

    for life in range(3):
        edge = await asyncio.to_thread(device.serve)
        before = len(answered)
        callers = [asyncio.create_task(ask(edge, 10 * life + n)) for n in range(8)]
        await until(lambda before=before: len(answered) > before + 300, 30, "traffic")  # type: ignore[misc]
        edge.kill()
        await asyncio.gather(*callers)
    assert len({answer_id.rpartition("-")[0] for answer_id in answered}) == 1, "one life: its numbers went on"
    assert len(set(answered)) == len(answered)

    async def drained() -> bool:
        state = await asyncio.to_thread(device.answer, "status")
        return all(life["waiting_rows"] == 0 for life in state["lives"])

    await until(drained, 30, "everything is forwarded")
    found, missing, shed = counted(await edge_batches(site))
    assert len(set(found)) == len(found)
    assert {f"{incarnation}-{number}" for incarnation, number in found} >= set(answered)
    assert (missing, shed) == (0, 0)


async def test_a_gateway_that_was_away(site: Site, client: httpx.AsyncClient, make_device: Devices) -> None:
    device = make_device(site.bundle)
    await asyncio.to_thread(device.answer, "predict", "--input", json.dumps(rows(1)[0]))
    site.replica.kill()
    away = await asyncio.to_thread(device.run, "forward", "--to", site.replica.url)
    assert (away.returncode, "does not answer" in away.stderr) == (75, True)
    assert (await asyncio.to_thread(device.answer, "status"))["lives"][0]["waiting_rows"] == 1
    device.watch(site.replica.url)
    back = site.cluster.start(TRIMTAB_REGISTRY_URL=site.registry.url, TRIMTAB_SERVING_PORT=str(site.replica.port))
    back.port = site.replica.port
    await back.ready(client)

    async def arrived() -> bool:
        return len(await edge_batches(site)) > 0

    await until(arrived, 30, "the row arrives")
    assert counted(await edge_batches(site))[1:] == (0, 0)


async def test_a_damaged_segment_and_a_changed_graph(site: Site, make_device: Devices) -> None:
    device = make_device(site.bundle)
    text = "\n".join(json.dumps(row) for row in rows(50))
    await asyncio.to_thread(device.run, "predict", "--file", "-", stdin=text)
    (segment,) = device.log.glob("*/*.log")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[21] = lines[21].replace(b'"service"', b'"secvire"')
    segment.write_bytes(b"".join(lines) + b"0badc0de {torn")
    assert (await asyncio.to_thread(device.answer, "status"))["lives"][0]["missing_rows"] == 1
    forwarded = await asyncio.to_thread(device.answer, "forward", "--to", site.replica.url)
    assert forwarded == {"forwarded": 49, "gaps": 1, "refused": 0}
    found, missing, shed = counted(await edge_batches(site))
    assert ([number for _, number in found], missing, shed) == ([n for n in range(50) if n != 20], 0, 1)
    graph = device.folder / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    for command in (("predict", "--input", "{}"), ("serve", "--port", "0"), ("status",)):
        done = await asyncio.to_thread(device.run, *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "model.onnx does not have the digest" in done.stderr
