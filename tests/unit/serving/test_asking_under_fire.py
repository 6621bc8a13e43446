"""Everything at once: slow and failing versions, circuits, fallbacks, a shadow, a cache, priorities, callers in a hurry
and deployments that change meanwhile. Every answer is that of its own input, has an id of its own and is in the log."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from schemas.serving_options import Circuit, ServingOptions
from services.serving.runtime import Array, RuntimeFailed
from tests.serving_models import CLASSES, VECTOR
from tests.unit.serving.conftest import Plane
from tests.unit.serving.scripted import Scripted

REQUESTS = 1500
CALLERS = 30

pytestmark = pytest.mark.usefixtures("settled")


class Moody(Scripted):
    """Answers the class that the first feature says, sometimes late, sometimes not at all."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        if self._chance.random() < 0.1:
            threading.Event().wait(self._chance.random() * 0.02)
        outputs = super().run(feed, rows)
        if self._chance.random() < 0.15:
            raise RuntimeFailed("out of luck")
        outputs[0][:] = 0.1
        for row, value in enumerate(feed["x"][:, 0].astype(int)):
            outputs[0][row, value % 3] = 0.8
        return outputs


def deploy(plane: Plane, chance: random.Random) -> None:
    plane.deploy(
        "m",
        {version: (VECTOR, Moody(chance)) for version in ("1.0.0", "2.0.0", "3.0.0")},
        weights={"1.0.0": 60, "2.0.0": 40},
        shadow="3.0.0",
        fallback="3.0.0",
        fallback_model="other",
        options=ServingOptions(
            timeout_ms=chance.choice([None, 20]),
            circuit=Circuit(failures=3, open_seconds=0.05),
            cache_ttl_seconds=chance.choice([None, 5]),
            queue_rows=chance.choice([8, 200]),
            batch_rows=chance.choice([1, 4, 64]),
        ),
    )


async def test_no_answer_is_wrong_or_another_s_and_all_are_logged(plane: Plane) -> None:
    chance = random.Random(20260101)
    plane.deploy("other", {"1.0.0": (VECTOR, Moody(chance))})
    left = list(range(REQUESTS))
    statuses: Counter[int] = Counter()
    ids: list[str] = []

    async def call() -> None:
        while left:
            if left.pop() % 100 == 99:
                deploy(plane, chance)
            said: dict[str, Any] = {"priority": chance.choice(["high", "normal", "low"])}
            if chance.random() < 0.3:
                said["timeoutMs"] = chance.choice([1, 5, 50])
            if chance.random() < 0.3:
                said["cache"] = False
            values = [chance.randrange(30) for _ in range(chance.choice([1, 1, 3]))]
            body = {"modelId": "m", "inputs": [{"x": [value, 0, 0, 0]} for value in values], **said}
            answer = await plane.client.post("/mlops/predict/batch", json=body)
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                told = answer.json()["predictions"]
                assert [one["prediction"] for one in told] == [CLASSES[value % 3] for value in values]
                ids.extend(one["prediction_id"] for one in told)
            else:
                assert answer.json()["code"] in ("overloaded", "timed-out", "circuit-open", "model-failed")

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    assert sum(statuses.values()) == REQUESTS
    assert statuses[200] > REQUESTS / 2
    assert plane.asking.fell_back.total() > 0
    assert plane.asking.cache is not None
    assert plane.asking.cache.counts.hits > 0
    assert len(set(ids)) == len(ids)
    await plane.shipper.stop(10)
    assert set(ids) <= {i for batch in plane.batches for i in batch.prediction_ids()}
