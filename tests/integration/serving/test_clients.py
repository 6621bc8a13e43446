"""Real clients, unmodified, each a process of its own, against a real serving process.

`tritonclient` is in our environment; kserve's client and MLServer's command line live in environments of their own.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.environments import ROOT, locked_environment
from tests.integration.serving.conftest import Cluster, Replica
from tests.serving_models import TABLE, table_model

CLIENTS = ROOT / "tests" / "clients"
LABELS = [1, 0, 2]  # of the three rows that the programs send to `vector`
STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


async def ran(*command: str | Path) -> str:
    """What a program printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(100):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-3000:]
    return out.decode()


@pytest.fixture
async def replica(cluster: Cluster, client: httpx.AsyncClient) -> Replica:
    """A process that serves `vector` and `table`."""
    await cluster.want("vector", cluster.publish("vector", "1.0.0"))
    await cluster.want("table", cluster.publish("table", "1.0.0", TABLE, table_model))
    replica = cluster.start()
    await replica.ready(client)
    return replica


def check_statistics(document: dict[str, Any], requests: int) -> None:
    """One version that has answered at least so many requests."""
    (entry,) = document["model_stats"]
    stats = entry["inference_stats"]
    assert stats["success"]["count"] >= requests
    assert entry["execution_count"] <= stats["success"]["count"] <= entry["inference_count"]
    assert all(stats[stage]["ns"] > 0 for stage in STAGES)


async def test_tritonclient(replica: Replica) -> None:
    seen = json.loads(await ran(sys.executable, CLIENTS / "triton_sync.py", f"127.0.0.1:{replica.port}"))
    assert seen["health"] == [True, True, True]
    assert seen["version ready"] == [True, False]
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(seen["server"]["extensions"])
    assert [entry["name"] for entry in seen["metadata"]["inputs"]] == ["duration", "service", "count", "src-bytes"]
    assert seen["config"]["input"][1] == {
        "name": "service",
        "data_type": "TYPE_STRING",
        "format": "FORMAT_NONE",
        "dims": [1],
        "optional": False,
    }
    assert {(line["name"], line["state"]) for line in seen["index"]} == {("table", "READY"), ("vector", "READY")}
    assert seen["binary"] == seen["json"] == seen["parameters"] == LABELS
    assert seen["named"] == [LABELS, "r-7", "vector", "1.0.0"]
    assert seen["strings"] == [[2, 0], [2, 0]]
    for binary in (True, False):
        best = seen[f"classes {binary}"]
        assert [row[0].split(":")[1:] for row in best] == [["1", "dos"], ["0", "normal"], ["2", "probe"]]
        assert all(len(row) == 2 for row in best)
    assert {seen[f"{coding} {binary}"] for coding in ("gzip", "deflate") for binary in (True, False)} == {600}
    assert seen["small gzip"] == LABELS[:1]
    assert seen["greenlets"] == [1 + i % 3 for i in range(20)]
    assert (seen["unknown"][0], "nobody" in seen["unknown"][1]) == ("404", True)
    assert (seen["bad shape"][0], "[1, 3]" in seen["bad shape"][1]) == ("400", True)
    check_statistics(seen["statistics"], 20)
    assert {entry["name"] for entry in seen["all statistics"]["model_stats"]} == {"vector", "table"}
    assert seen["unloaded"] == [False, True, True]
    assert (seen["refused"][0], "unloaded by hand" in seen["refused"][1]) == ("503", True)
    assert seen["loaded"] == [True, [2, 0]]
    assert (seen["not deployed"][0], "POST /mlops/deploy" in seen["not deployed"][1]) == ("400", True)


async def test_tritonclient_with_asyncio(replica: Replica) -> None:
    seen = json.loads(await ran(sys.executable, CLIENTS / "triton_aio.py", f"127.0.0.1:{replica.port}"))
    assert seen["health"] == [True, True]
    assert seen["ready"] == [True, False]
    assert seen["metadata"]["versions"] == ["1.0.0"]
    assert seen["config"]["max_batch_size"] == 10_000
    assert len(seen["index"]) == 2
    assert seen["right"] == 200
    assert seen["gzip"] == seen["deflate"] == [600, 3]
    assert seen["large"] == [5000, 3]
    assert (seen["unknown"][0], "nobody" in seen["unknown"][1]) == ("404", True)
    check_statistics(seen["statistics"], 200)
    assert seen["refused"][0] == "503"
    assert seen["loaded"]


@pytest.mark.timeout(600)
async def test_kserves_client(replica: Replica) -> None:
    lock = ROOT / "requirements" / "clients-kserve.lock"
    python = await asyncio.to_thread(locked_environment, "clients-kserve", lock)
    seen = json.loads(await ran(python, CLIENTS / "kserve_rest.py", replica.url))
    assert seen["health"] == [True, True]
    assert (seen["ready"], seen["not ready"]) == (True, False)
    for binary in (True, False):
        assert seen[f"binary {binary}"] == [["k-1", "vector", [1, 0]], ["k-1", "table", [2, 0]]]
    assert seen["plain"] == ["vector", [1, 3]]
    assert seen["many"] == [2] * 50
    assert (seen["unknown"][0], "nobody" in seen["unknown"][1]) == (404, True)
    assert (seen["bad shape"][0], "[1, 3]" in seen["bad shape"][1]) == (400, True)


@pytest.mark.timeout(600)
async def test_mlserver_infer(replica: Replica, tmp_path: Path) -> None:
    lock = ROOT / "requirements" / "clients-mlserver.lock"
    python = await asyncio.to_thread(locked_environment, "clients-mlserver", lock)
    lines = [
        {
            "id": f"line-{number}",
            "inputs": [
                {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [9.0 * (number % 3 == i) for i in range(4)]}
            ],
        }
        for number in range(40)
    ]
    lines.append({"id": "bad", "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]})
    given, found = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    for binary in (True, False):
        files = ["-i", str(given), "-o", str(found), *(["-b"] if binary else [])]
        server = ["-u", f"127.0.0.1:{replica.port}", "-m", "vector", "-w", "4", "-r", "1"]
        await ran(python.with_name("mlserver"), "infer", *server, *files)
        answers = {
            answer["parameters"]["batch_index"]: answer for answer in map(json.loads, found.read_text().splitlines())
        }
        assert len(answers) == 41
        assert "[1, 3]" in answers.pop(40)["error"]["msg"]
        for number, answer in answers.items():
            data = answer["outputs"][0]["data"]
            assert (answer["id"], data.index(max(data))) == (f"line-{number}", number % 3)
