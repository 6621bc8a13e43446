"""The prediction log of a real serving process under kill -9, a disk that refuses writes and a broker that is gone."""

import asyncio
import os
import resource
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from schemas.events import DeploymentWanted, ModelRegistered, Route
from schemas.predictions import is_sampled_out_id, parse_prediction_id
from schemas.serving_options import InputContract, LogPolicy, ServingOptions
from services.serving.segments import SUFFIX
from tests.integration.monitor.harness import Monitor
from tests.integration.serving.conftest import Cluster, Replica
from tests.integration.serving.test_service import ids_in_topic, predict
from tests.serving_models import TABLE, table_model
from tests.waiting import until
from trimtab.local.broker import LocalBroker
from trimtab.local.ports import free_ports

CALLERS = 16
OUTAGE_SECONDS = 60.0 if "TRIMTAB_TEST_LONG" in os.environ else 4.0
"""`make soak` asks for the long form."""


class Load:
    """Callers that ask until they are stopped or nobody answers; what they were told."""

    def __init__(self, client: httpx.AsyncClient, replica: Replica) -> None:
        self._client = client
        self._replica = replica
        self._stop = asyncio.Event()
        self.ids: list[str] = []
        self.statuses: dict[int, int] = defaultdict(int)
        self.tasks = [asyncio.create_task(self._call()) for _ in range(CALLERS)]

    async def _call(self) -> None:
        body = {"modelId": "m", "input": {"x": [1.0, 0, 0, 0]}}
        while not self._stop.is_set():
            try:
                answer = await self._client.post(f"{self._replica.url}/mlops/predict", json=body)
            except httpx.TransportError:
                return
            self.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                self.ids.append(answer.json()["prediction_id"])

    async def end(self) -> None:
        """Let the callers finish."""
        self._stop.set()
        await asyncio.gather(*self.tasks)


def by_incarnation(ids: list[str]) -> dict[str, list[int]]:
    """The sequence numbers of each incarnation, each once, in order."""
    found: dict[str, set[int]] = defaultdict(set)
    for name in ids:
        parsed = parse_prediction_id(name)
        assert parsed is not None, name
        found[parsed[0]].add(parsed[1])
    return {incarnation: sorted(numbers) for incarnation, numbers in found.items()}


def without_holes(ids: list[str]) -> bool:
    """Whether each incarnation's numbers are 0, 1, 2, ..."""
    return all(numbers == list(range(len(numbers))) for numbers in by_incarnation(ids).values())


async def registered(cluster: Cluster, route: Route) -> None:
    """Tell the monitor of the version."""
    await cluster.send(
        ModelRegistered(
            model_id="m",
            version=route.version,
            artifact=route.artifact,
            manifest_digest=route.manifest_digest,
            content_digest="0" * 64,
        )
    )


async def test_kill_9_under_load_loses_no_answered_row_and_the_monitor_counts_each_once(
    cluster: Cluster, client: httpx.AsyncClient, broker: LocalBroker, topic_prefix: str
) -> None:
    route = cluster.publish("m", "1.0.0")
    await cluster.want("m", route)
    await registered(cluster, route)
    answered: list[str] = []
    for _ in range(2):
        replica = cluster.start()
        await replica.ready(client)
        load = Load(client, replica)
        await until(lambda: len(load.ids) >= 400, 30, "400 predictions are answered")  # noqa: B023 - awaited here
        replica.kill()
        await load.end()
        answered += load.ids
    last = cluster.start()
    await last.ready(client)
    answered += [(await predict(client, last))["prediction_id"] for _ in range(10)]
    assert await last.terminate() == 0

    found = await ids_in_topic(cluster)
    assert set(answered) <= set(found)
    assert len(set(answered)) == len(answered)
    assert len(by_incarnation(found)) == 3
    assert without_holes(found)
    assert not list((cluster.settings.data_dir / "serving-log").iterdir())

    monitor = Monitor(broker.bootstrap, topic_prefix, cluster.settings.data_dir)
    monitor.start()
    try:
        rows = len(set(found))
        await asyncio.to_thread(monitor.wait, lambda: monitor.counted("m") >= rows, f"{rows} rows are counted")
        told = await asyncio.to_thread(monitor.model, "m")
        assert told["versions"]["1.0.0"] == {"rows": rows, "errors": 0, "sampled_out": 0}
        assert (told["missing"], told["shed"], told["repeated"]) == (0, 0, len(found) - rows)
    finally:
        await asyncio.to_thread(monitor.kill)


def segment_sizes(cluster: Cluster) -> list[int]:
    """The sizes of the log's files."""
    return [path.stat().st_size for path in (cluster.settings.data_dir / "serving-log").glob(f"*{SUFFIX}")]


def limit_files(replica: Replica, size: float) -> None:
    """No file of the process grows past `size` bytes: a write that would is cut there, the next one fails."""
    hard = resource.prlimit(replica.process.pid, resource.RLIMIT_FSIZE)[1]
    soft = hard if size == float("inf") else int(size)
    resource.prlimit(replica.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


async def ask(client: httpx.AsyncClient, replica: Replica) -> httpx.Response:
    return await client.post(f"{replica.url}/mlops/predict", json={"modelId": "m", "input": {"x": [1.0, 0, 0, 0]}})


async def asked_until(
    client: httpx.AsyncClient, replica: Replica, status: int, seen: Callable[[httpx.Response], Awaitable[bool]]
) -> None:
    """Ask until an answer has this status."""

    async def arrived() -> bool:
        answer = await ask(client, replica)
        return await seen(answer) and answer.status_code == status

    await until(arrived, 20, f"an answer with {status}")


async def test_a_disk_that_refuses_a_write_in_the_middle_refuses_predictions_and_recovers(
    cluster: Cluster, client: httpx.AsyncClient
) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    answered: list[str] = []

    async def note(answer: httpx.Response) -> bool:
        if answer.status_code == 200:
            answered.append(answer.json()["prediction_id"])
        else:
            assert answer.status_code == 503, answer.text
            assert "could not be logged" in answer.json()["detail"]
            assert answer.headers["retry-after"]
        return True

    for _ in range(5):
        await note(await ask(client, replica))
    limit_files(replica, max(segment_sizes(cluster)) + 1000)
    await asked_until(client, replica, 503, note)
    for _ in range(5):
        assert (await ask(client, replica)).status_code == 503
    assert (await client.get(f"{replica.url}/healthz")).status_code == 200
    limit_files(replica, float("inf"))
    await asked_until(client, replica, 200, note)
    for _ in range(5):
        await note(await ask(client, replica))
    assert await replica.terminate() == 0
    found = await ids_in_topic(cluster)
    assert sorted(found) == sorted(answered)
    assert without_holes(found)
    assert len(answered) > 10


async def test_a_disk_that_refuses_a_write_sheds_rows_and_says_which(
    cluster: Cluster, client: httpx.AsyncClient
) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start(TRIMTAB_SERVING_LOG_POLICY="shed")
    await replica.ready(client)
    answered = [(await predict(client, replica))["prediction_id"] for _ in range(5)]
    limit_files(replica, max(segment_sizes(cluster)) + 1000)
    answered += [(await predict(client, replica))["prediction_id"] for _ in range(40)]
    limit_files(replica, float("inf"))
    answered += [(await predict(client, replica))["prediction_id"] for _ in range(5)]
    metrics = (await client.get(f"{replica.url}/metrics")).text
    assert await replica.terminate() == 0
    found = [parse_prediction_id(name) for name in await ids_in_topic(cluster)]
    gaps = {(gap.first_sequence, gap.rows) for batch in await cluster.batches() for gap in batch.gaps}
    shed = {number for first, rows in gaps for number in range(first, first + rows)}
    logged = {place[1] for place in found if place is not None}
    told = [place[1] for name in answered if (place := parse_prediction_id(name)) is not None]
    assert told == list(range(50))
    assert logged | shed == set(told)
    assert shed
    assert not logged & shed
    assert f"ml_prediction_log_shed_rows {float(len(shed))}" in metrics


@pytest.fixture
def own_broker(broker_jars: Path, tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker of this test's own, to be stopped."""
    port, controller_port = free_ports(2)
    own = LocalBroker(tmp_path / "broker", jars=broker_jars, port=port, controller_port=controller_port)
    own.start()
    yield own
    own.stop()


class TestWithoutBroker:
    """On a broker of the test's own."""

    @pytest.fixture
    def broker(self, own_broker: LocalBroker) -> LocalBroker:
        return own_broker

    @pytest.fixture
    def topic_prefix(self) -> str:
        return ""

    @pytest.mark.timeout(OUTAGE_SECONDS + 240)
    async def test_an_outage_under_load_costs_no_answer_no_row_and_no_memory(
        self, broker: LocalBroker, cluster: Cluster, client: httpx.AsyncClient
    ) -> None:
        await cluster.want("m", cluster.publish("m", "1.0.0"))
        replica = cluster.start()
        await replica.ready(client)
        process = psutil.Process(replica.process.pid)
        load = Load(client, replica)
        await until(lambda: len(load.ids) >= 500, 60, "500 predictions are answered")
        before = process.memory_info().rss
        await asyncio.to_thread(broker.stop)
        begun, count = asyncio.get_running_loop().time(), len(load.ids)
        await until(
            lambda: asyncio.get_running_loop().time() - begun > OUTAGE_SECONDS and len(load.ids) >= count + 1000,
            OUTAGE_SECONDS + 60,
            "the outage is over",
        )
        grown = process.memory_info().rss - before
        await asyncio.to_thread(broker.start)
        await load.end()
        assert load.statuses.keys() == {200}
        assert grown < 32 << 20, f"{grown} bytes more while the broker was gone"

        async def everything_has_arrived() -> bool:
            return set(load.ids) <= set(await ids_in_topic(cluster))

        await until(everything_has_arrived, 60, "every answered row in the topic")
        assert without_holes(await ids_in_topic(cluster))
        assert await replica.terminate() == 0

    async def test_a_full_budget_refuses_until_kafka_has_taken_some(
        self, broker: LocalBroker, cluster: Cluster, client: httpx.AsyncClient
    ) -> None:
        await cluster.want("m", cluster.publish("m", "1.0.0"))
        replica = cluster.start(TRIMTAB_SERVING_LOG_MAX_BYTES="65536", TRIMTAB_SERVING_LOG_SEGMENT_BYTES="16384")
        await replica.ready(client)
        await asyncio.to_thread(broker.stop)
        load = Load(client, replica)
        await until(lambda: load.statuses[503] >= 20, 60, "requests are refused")
        metrics = (await client.get(f"{replica.url}/metrics")).text
        assert sum(segment_sizes(cluster)) < 65536 + 16384
        await asyncio.to_thread(broker.start)
        enough = len(load.ids) + 200
        await until(lambda: len(load.ids) >= enough, 60, "predictions are answered again")
        await load.end()
        assert load.statuses.keys() == {200, 503}
        assert "ml_prediction_log_refused_requests 0.0" not in metrics
        assert await replica.terminate() == 0
        found = await ids_in_topic(cluster)
        assert set(load.ids) == set(found)
        assert without_holes(found)


async def test_redacted_values_are_in_no_log_line_and_no_record(cluster: Cluster, client: httpx.AsyncClient) -> None:
    secret, secret_number = "s3cretsubject", 918273645
    route = cluster.publish("m", "1.0.0", TABLE, table_model)
    await cluster.send(
        DeploymentWanted(
            model_id="m",
            revision=1,
            routes=(route,),
            options=ServingOptions(
                log=LogPolicy(redact={"service": "hash", "count": "drop"}, sample=0.5),
                inputs=InputContract(unexpected="flag", type="flag"),
            ),
            since=datetime.now(UTC),
        ),
        1,
    )
    replica = cluster.start(TRIMTAB_LOG_LEVEL="debug", TRIMTAB_SERVING_REDACTION_KEY="shared")
    await replica.ready(client)
    good: dict[str, Any] = {"duration": 1.0, "service": secret, "count": secret_number}
    texts: list[str] = []
    for changes in ({}, {"count": str(secret_number)}, {"extra": 1}, {"count": secret}, {"duration": None}) * 6:
        row = {name: value for name, value in {**good, **changes}.items() if value is not None}
        answer = await client.post(f"{replica.url}/mlops/predict", json={"modelId": "m", "input": row})
        texts.append(answer.json().get("prediction_id", ""))
        assert answer.status_code == (422 if changes.get("count") == secret or "duration" in changes else 200)
    assert {is_sampled_out_id(text) for text in texts if text} == {True, False}
    assert await replica.terminate() == 0
    written = [replica.log.read_bytes(), *(batch.encode() for batch in await cluster.batches())]
    for data in written:
        assert secret.encode() not in data
        assert str(secret_number).encode() not in data
        assert secret_number.to_bytes(8, "little") not in data
    rows = [row for batch in await cluster.batches() for row in batch.rows.to_pylist()]
    assert len({row["x:service"] for row in rows}) == 1
    assert {row.get("flags") for row in rows} == {None, "count:type", "extra:unexpected"}
