"""From a validated request to its answer, the one way for both faces: cache, circuit, queue, fallbacks, shadow.

1. The routes choose the version (`Asking.choose`); nothing below may answer by another one without saying so.
2. The cache is looked at, where the model has one.
3. The version's circuit lets the request in, the version's batcher queues it, and the answer is waited for as long as
   the model's `timeout_ms` and the caller's own time allow.
4. When the version failed, was too slow or is left alone, the request falls back: to the deployment's fallback version,
   then to another model, by its own routes and into its own log, then to a constant. Each is asked once, within what is
   left of the caller's time; when none is left, only a constant can still answer. A fallback model's own fallbacks are
   not asked, so no chain is endless. When nothing helps, the caller gets the first failure.

A request for a version by number has no shadow and does not fall back: who asks so wants that version.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from services.kernel.errors import Failed, InvalidInput, NotFound, TrimtabError, Unavailable
from services.serving.ask_options import PLAIN, AskOptions
from services.serving.cache import MOST_ROWS, PredictionCache
from services.serving.cache.key import key_of
from services.serving.catalog import Catalog, Chosen, Deployed
from services.serving.circuit import Breaker
from services.serving.columns import Columns
from services.serving.config import ServerConfig
from services.serving.exchange import Exchange, HungUp, TimedOut
from services.serving.predlog import LogBudget
from services.serving.question import Question
from services.serving.router import FALLBACK, PINNED, key_text
from services.serving.runtime import Array, RuntimeLost
from services.serving.served import Answer, FallbackBy, ServedVersion
from services.serving.shadow import Shadows

T = TypeVar("T")


class Asking:
    """Asks the models of a catalog. Lives on the event loop."""

    def __init__(
        self,
        catalog: Catalog,
        budget: LogBudget,
        *,
        cache: PredictionCache | None = None,
        shadows: Shadows | None = None,
    ) -> None:
        self.catalog = catalog
        self.cache = cache
        self.shadows = shadows or Shadows()
        self.fell_back: Counter[tuple[str, FallbackBy]] = Counter()
        """Answers by (model that was asked, what answered instead)."""
        self._budget = budget
        self._default_ttl = 0.0

    def configure(self, config: ServerConfig) -> None:
        """From now on models that say nothing of their own are cached as `config` says."""
        self._default_ttl = 0.0 if self.cache is None else config.cache_ttl

    async def bring(self, model_id: str, options: AskOptions, started: float) -> None:
        """Have a model in memory that was unloaded to make room (see `Room.bring`), within the time of a request that
        was parsed at `started`. Raises `NotFound`, `Unavailable`, and `TimedOut` when that is over; the load goes on.
        """
        timeout = options.timeout_seconds
        left = None if timeout is None else timeout - (time.perf_counter() - started)
        try:
            async with asyncio.timeout(left):
                await self.catalog.bring(model_id)
        except TimeoutError:
            raise TimedOut(f"the model was not in memory and did not load within {timeout or 0:.4g} s") from None

    def choose(
        self, exchange: Exchange, model_id: str, version: str | None, value_of: Callable[[T, str], object], source: T
    ) -> Chosen:
        """Where the request goes. The sticky key is looked for in the headers, then by `value_of(source, its name)`.

        Raises `NotFound`, `Unavailable`.
        """
        key = None
        if version is None:
            sticky = self.catalog.deployed(model_id).plan.sticky_key
            if sticky is not None:
                key = exchange.header(sticky) or key_text(value_of(source, sticky))
        return self.catalog.choose(model_id, version, key)

    async def ask(self, exchange: Exchange, chosen: Chosen, question: Question) -> Answer:
        """The answer of the chosen version, or of what stands in for it; its rows are in the log.

        Raises `TrimtabError`, and `HungUp` when there is nobody left to answer.
        """
        self._budget.admit()
        plan = chosen.deployed.plan
        try:
            if plan.plain and question.options is PLAIN and not self._default_ttl:
                return await self._at_once(exchange, chosen, question)
            if plan.shadow is not None and chosen.route != PINNED:
                exchange.after = partial(self.shadows.cast, chosen, plan.shadow.version, question)
            return await self._answer(exchange, chosen.deployed, chosen.served, chosen.route, question)
        except (Failed, Unavailable) as failure:
            if chosen.route == PINNED:
                raise
            return await self._instead(exchange, chosen, question, failure)

    def _at_once(self, exchange: Exchange, chosen: Chosen, question: Question) -> Awaitable[Answer]:
        """What `_answer` comes to when nothing was said and nothing is kept: the way of nearly all requests."""
        served = chosen.served
        batcher = served.batcher
        watched = batcher.must_wait(question.count)
        future = served.ask(
            question.count, question.rows, question.columns, chosen.route, question.started, at_once=exchange.alone
        )
        return self._watch(exchange, served, future) if watched else future

    @staticmethod
    async def _watch(exchange: Exchange, served: ServedVersion, future: "asyncio.Future[Answer]") -> Answer:
        try:
            return await exchange.wait(future, watched=True)
        except HungUp:
            served.batcher.queue.abandoned()
            raise

    async def _answer(
        self, exchange: Exchange, deployed: Deployed, served: ServedVersion, route: str, question: Question
    ) -> Answer:
        """What `served` answers, from the cache or by running."""
        ttl = self._ttl_seconds(deployed, served, question)
        if ttl <= 0:
            return await self._run(exchange, deployed, served, route, question)
        assert self.cache is not None
        columns = question.columns = _columns(served, question)
        key = key_of(served.identity, columns)
        with served.held():
            outputs = await self.cache.get(key, ttl)
        if outputs is not None and _fit(outputs, served, columns):
            future = served.answer_with(outputs, columns, route, question.started)
            return await exchange.wait(future, watched=False)
        served.measures.cache_misses += 1
        answer = await self._run(exchange, deployed, served, route, question)
        rows = slice(answer.start, answer.start + answer.count)
        self.cache.put(key, [output[rows] for output in answer.batch.outputs], ttl)
        return answer

    async def _run(
        self, exchange: Exchange, deployed: Deployed, served: ServedVersion, route: str, question: Question
    ) -> Answer:
        """Let `served` run the question. Its circuit learns how that went, as far as it was the version's doing."""
        breaker = served.breaker
        ticket = 0 if breaker is None else breaker.enter()
        verdict = Breaker.withdrew
        limit = deployed.plan.timeout_seconds
        left = question.seconds_left()
        by_model = limit is not None and (left is None or limit <= left)
        future = None
        try:
            if left is not None and left <= 0:
                raise TimedOut("the time for this request was over before the model could be asked")
            watched = served.batcher.must_wait(question.count)
            future = served.ask(
                question.count, question.rows, question.columns, route, question.started, question.options.priority
            )
            answer = await exchange.wait(future, watched=watched, timeout_seconds=limit if by_model else left)
            verdict = Breaker.succeeded
            return answer
        except (Failed, RuntimeLost):
            verdict = Breaker.failed
            raise
        except TimedOut as late:
            if by_model:
                verdict = Breaker.failed
            served.batcher.queue.abandoned()
            served.overdue(future, _columns(served, question), route, question.started, late)
            raise
        except HungUp:
            served.batcher.queue.abandoned()
            raise
        finally:
            if breaker is not None:
                verdict(breaker, ticket)

    async def _instead(self, exchange: Exchange, chosen: Chosen, question: Question, failure: TrimtabError) -> Answer:
        steps: tuple[tuple[FallbackBy, Callable[[Exchange, Chosen, Question], Awaitable[Answer | None]]], ...] = (
            ("version", self._by_version),
            ("model", self._by_model),
            ("constant", self._by_constant),
        )
        for by, step in steps:
            left = question.seconds_left()
            if by != "constant" and left is not None and left <= 0:
                continue
            try:
                answer = await step(exchange, chosen, question)
            except (Failed, Unavailable, NotFound):
                continue  # it is logged where it happened; the caller is told of the first failure
            except InvalidInput:
                if by != "model":
                    raise
                continue  # what another model's contract and limits do not take is no mistake of the caller's
            if answer is not None:
                answer.fallback_by = by
                self.fell_back[chosen.served.model_id, by] += 1
                return answer
        raise failure

    async def _by_version(self, exchange: Exchange, chosen: Chosen, question: Question) -> Answer | None:
        route = chosen.deployed.plan.instead_of(chosen.served.version)
        served = None if route is None else chosen.deployed.versions.get(route.version)
        if served is None or not _may_stand_in(served, chosen.served, question):
            return None
        return await self._answer(exchange, chosen.deployed, served, FALLBACK, question)

    async def _by_model(self, exchange: Exchange, chosen: Chosen, question: Question) -> Answer | None:
        model_id = chosen.deployed.plan.fallback_model
        if model_id is None or model_id == chosen.served.model_id:
            return None
        if model_id not in self.catalog.models:
            try:
                async with asyncio.timeout(question.seconds_left()):
                    await self.catalog.bring(model_id)
            except TimeoutError:
                return None
        sticky = self.catalog.deployed(model_id).plan.sticky_key
        other = self.catalog.choose(model_id, None, None if sticky is None else exchange.header(sticky))
        if not _may_stand_in(other.served, chosen.served, question):
            return None
        if not other.deployed.plan.options.log.hides(chosen.deployed.plan.options.log):
            return None  # its log would show what this model's owner hides
        return await self._answer(exchange, other.deployed, other.served, FALLBACK, question)

    async def _by_constant(self, exchange: Exchange, chosen: Chosen, question: Question) -> Answer | None:
        constant = chosen.deployed.plan.fallback_constant
        if constant is None:
            return None
        columns = _columns(chosen.served, question)
        future = chosen.served.answer_constant(constant, columns, FALLBACK, question.started)
        if future is None:
            return None
        return await exchange.wait(future, watched=False)

    def _ttl_seconds(self, deployed: Deployed, served: ServedVersion, question: Question) -> float:
        """How old a cached answer to `question` may be; 0: it is not looked for, nor this one kept."""
        own = deployed.plan.options.cache_ttl_seconds
        ttl = self._default_ttl if own is None or self.cache is None else own
        return ttl if ttl and served.identity and question.options.cache and question.count <= MOST_ROWS else 0.0


def _columns(served: ServedVersion, question: Question) -> Columns:
    return question.columns if question.columns is not None else served.layout.from_rows(question.rows or ())


def _fit(outputs: list[Array], served: ServedVersion, columns: Columns) -> bool:
    """Whether `outputs` could be this version's, for so many rows. A cache is not trusted further than that."""
    return len(outputs) == len(served.output_names) and all(o.shape[:1] == (columns.rows,) for o in outputs)


def _may_stand_in(other: ServedVersion, failed: ServedVersion, question: Question) -> bool:
    return other.signature.inputs == failed.signature.inputs and set(question.outputs) <= set(other.output_names)
