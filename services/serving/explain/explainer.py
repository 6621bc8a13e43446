"""Explanations for the routes and for the global importance: a bounded queue before the one child.

One job at a time, in order of arrival; importance is computed in small pieces, so that no request waits long behind it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from services.kernel.artifacts import load_blob, load_version
from services.kernel.errors import Overloaded, TrimtabError, Unavailable
from services.kernel.storage import ArtifactStore
from services.serving.explain.process import ExplainerProcess
from services.serving.explain.refusals import ExplanationTimedOut, error_of
from services.serving.explain.wire import (
    Attributed,
    ExplainJob,
    Explanations,
    ImportanceJob,
    Job,
    Refused,
    Reply,
    Version,
)
from services.serving.model import VersionRef
from services.serving.nursery import Nursery
from services.serving.settings import ServingSettings

EXPLANATIONS = Counter("ml_explanations", "Explanations asked for, by how they ended", ["method", "outcome"])
SECONDS = Histogram("ml_explanation_seconds", "A job of the explaining process, its queue left out", ["method"])
WAITING = Gauge("ml_explanation_queue", "Requests that wait for the explaining process or are worked on")
MEMORY = Gauge("ml_explainer_memory_bytes", "Resident memory of the explaining process")
STARTS = Gauge("ml_explainer_starts", "Explaining processes started so far")

_LOCATED = 1_000
"""Versions whose folder is remembered."""


class Explainer:
    """A part of the service. Lives on the event loop."""

    def __init__(self, settings: ServingSettings, store: ArtifactStore) -> None:
        self.settings = settings
        self._store = store
        self._process = ExplainerProcess(settings)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._nursery = Nursery("explainer")
        self._located: OrderedDict[tuple[str, str | None], Version] = OrderedDict()
        self._idle: asyncio.TimerHandle | None = None
        WAITING.set_function(lambda: self._waiting)
        MEMORY.set_function(lambda: self._process.memory_bytes)
        STARTS.set_function(lambda: self._process.starts)

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Ends with the first unexpected error."""
        return self._nursery.task

    @property
    def process(self) -> ExplainerProcess:
        """The child's life."""
        return self._process

    async def start(self) -> None:
        """Nothing is started before somebody asks."""

    async def stop(self) -> None:
        """End the child and what waits for it."""
        await self._nursery.close()
        if self._idle is not None:
            self._idle.cancel()
        await self._process.end()

    async def explain(
        self,
        ref: VersionRef,
        rows: Sequence[Sequence[Any]],
        *,
        method: str = "shapley",
        target: str | None = None,
        samples: int | None = None,
        seed: int = 0,
    ) -> Explanations:
        """Explain rows (values in the signature's order, a tensor as a flat list) of a version.

        Raises `Overloaded` when the queue is full, `ExplanationTimedOut`, `ExplainerDied`, `NoBaselineSample`,
        `InvalidInput`, and what fetching the version raises. Cancelled, it leaves the queue; what runs, runs on.
        """
        settings = self.settings
        outcome = "cancelled"
        try:
            if self._waiting >= settings.serving_explain_queue:
                raise Overloaded(
                    f"{self._waiting} requests wait for an explanation already; try again in a moment", 2.0
                )
            self._waiting += 1
            try:
                job = ExplainJob(
                    await self.locate(ref),
                    [list(row) for row in rows],
                    method,
                    target,
                    samples,
                    seed,
                    settings.serving_explain_background_rows,
                    settings.serving_explain_features,
                    settings.serving_explain_evaluations,
                )
                reply = await self._ask(job)
            finally:
                self._waiting -= 1
            assert isinstance(reply, Explanations)
            outcome = "answered"
            return reply
        except TrimtabError as error:
            outcome = error.code
            raise
        finally:
            EXPLANATIONS.labels(method, outcome).inc()

    async def attribute(self, ref: VersionRef, job: ImportanceJob) -> Attributed:
        """A piece of a version's global importance, by its own graph; `job.version` is filled in here.

        Raises as `explain` does, but for `Overloaded`.
        """
        job.version = await self.locate(replace(ref, graph=None))
        reply = await self._ask(job)
        assert isinstance(reply, Attributed)
        return reply

    async def locate(self, ref: VersionRef) -> Version:
        """Where the version's verified files lie; fetched where they are not here yet. The child checks them again."""
        known = self._located.get(_key(ref))
        if known is not None:
            self._located.move_to_end(_key(ref))
            return known
        directory = await asyncio.to_thread(
            load_version, self._store, ref.artifact, self.settings.cache_dir, ref.manifest_digest
        )
        located = Version(str(directory.absolute()), ref.manifest_digest)
        if ref.graph is not None:
            smaller = await asyncio.to_thread(
                load_blob, self._store, ref.graph.sha256, ref.graph.size, self.settings.cache_dir
            )
            located = Version(located.directory, located.manifest_digest, str(smaller.absolute()), ref.graph.sha256)
        self._located[_key(ref)] = located
        if len(self._located) > _LOCATED:
            self._located.popitem(last=False)
        return located

    async def _ask(self, job: Job) -> Reply:
        timeout_seconds = self.settings.serving_explain_timeout_seconds
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise ExplanationTimedOut(
                f"other explanations were not done within {timeout_seconds:g} s; try again later"
            ) from None
        if self._idle is not None:
            self._idle.cancel()
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._nursery.spawn(self._run(job, timeout_seconds, answer), "explain")
        reply = await answer
        if isinstance(reply, Refused):
            if reply.code == "integrity-failed":  # the cached files were damaged: they are fetched again
                self._located = OrderedDict((k, v) for k, v in self._located.items() if v != job.version)
            raise error_of(reply.code, reply.detail)
        return reply

    async def _run(self, job: Job, timeout_seconds: float, answer: "asyncio.Future[Reply]") -> None:
        """Ask the child, whether somebody still waits for the answer or not."""
        begun = time.perf_counter()
        try:
            reply = await self._process.ask(job, timeout_seconds)
            if not answer.done():
                answer.set_result(reply)
        except TrimtabError as error:
            if not answer.done():
                answer.set_exception(error)
        finally:
            if not answer.done():
                answer.set_exception(Unavailable("this server is stopping"))
            SECONDS.labels(job.method).observe(time.perf_counter() - begun)
            self._turn.release()
            self._idle = asyncio.get_running_loop().call_later(
                self.settings.serving_explain_idle_seconds, self._end_idle
            )

    def _end_idle(self) -> None:
        if not self._turn.locked():
            self._nursery.spawn(self._rest(), "explainer-rest")

    async def _rest(self) -> None:
        async with self._turn:
            await self._process.end()


def _key(ref: VersionRef) -> tuple[str, str | None]:
    return ref.manifest_digest, ref.graph.sha256 if ref.graph is not None else None
