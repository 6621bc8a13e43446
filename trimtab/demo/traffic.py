"""The callers of the model: rows go in, predictions come back, and the truth follows later."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from trimtab.async_client import AsyncClient
from trimtab.demo.data import Row

IDLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Answered:
    """One prediction, and the truth."""

    prediction_id: str
    version: str
    route: str
    right: bool


def accuracy(answers: Sequence[Answered]) -> float:
    """The share of right predictions. Raises `ZeroDivisionError` without any."""
    return sum(answer.right for answer in answers) / len(answers)


class Callers:
    """Send rows, keep the answers, and report the truth `label_delay_seconds` later, in the background.

    Use it as `async with`; at the end all labels have been sent. An error of a background label is raised then.
    """

    def __init__(self, client: AsyncClient, model_id: str, label_delay_seconds: float) -> None:
        self._client = client
        self._model_id = model_id
        self._delay_seconds = label_delay_seconds
        self._labels: deque[tuple[float, dict[str, str]]] = deque()
        self._finishing = False
        self._task: asyncio.Task[None] | None = None
        self.answers: list[Answered] = []
        self.requests = 0
        self.labelled = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_labels(), name="labels")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._finishing = True
        if error is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        else:
            await self._task

    async def one(self, row: Row) -> None:
        """One row by `POST /mlops/predict`."""
        answer = await self._client.predict(self._model_id, row[0])
        self._keep([row], [answer])

    async def many(self, rows: Sequence[Row]) -> None:
        """Rows by `POST /mlops/predict/batch`."""
        answer = await self._client.predict_batch(self._model_id, [row[0] for row in rows])
        self._keep(rows, answer["predictions"])

    def _keep(self, rows: Sequence[Row], answers: list[dict[str, Any]]) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
        self.requests += 1
        truth = {answer["prediction_id"]: row[1] for row, answer in zip(rows, answers, strict=True)}
        self.answers += [
            Answered(answer["prediction_id"], answer["version"], answer["route"], answer["prediction"] == row[1])
            for row, answer in zip(rows, answers, strict=True)
        ]
        self._labels.append((asyncio.get_running_loop().time() + self._delay_seconds, truth))

    async def _send_labels(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._finishing or self._labels:
            due: dict[str, str] = {}
            while self._labels and len(due) < 1000 and (self._finishing or self._labels[0][0] <= loop.time()):
                due |= self._labels.popleft()[1]
            if due:
                await self._client.send_labels(self._model_id, due)
                self.labelled += len(due)
            else:
                await asyncio.sleep(IDLE_SECONDS)
