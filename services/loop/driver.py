"""The driver: looks at every open cycle and does what its step waits for.

Each action is safe to repeat: HTTP changes carry an Idempotency-Key made of the cycle and the action, and the step
itself is a compare-and-swap on the cycle's row. So a crash between an action and its step, or two loops at once, do no
harm.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from schemas.commands import TrainingRequested
from schemas.events import LoopStep
from services.kernel.errors import TrimtabError, Unavailable
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork, Work
from services.loop import tables
from services.loop.cycle import step
from services.loop.gates import better, canary
from services.loop.gates.canary import Traffic
from services.loop.peers import Peers, Refused
from services.loop.policy import retraining_job
from services.loop.settings import LoopSettings
from services.loop.tables import Cycle

log = get_logger(__name__)

NONE = Traffic(0, 0)


class Driver:
    """Moves cycles along. One `tick` looks at each open cycle once."""

    def __init__(self, settings: LoopSettings, work: Work, peers: Peers) -> None:
        self._settings = settings
        self._work = work
        self._peers = peers
        self._actions: dict[LoopStep, Callable[[Cycle], Awaitable[None]]] = {
            LoopStep.NOTICED: self._noticed,
            LoopStep.GATHERING: self._gather,
            LoopStep.TRAINING: self._watch_training,
            LoopStep.PROVING: self._prove,
            LoopStep.CANARY: self._watch_canary,
            LoopStep.ROLLING_OUT: self._finish,
        }

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await self.tick()
            await asyncio.sleep(self._settings.loop_tick_seconds)

    async def tick(self) -> None:
        """Look at every open cycle; one that can't go on now does not hold up the others."""
        try:
            cycles = await self._work.db.read(tables.open_cycles)
        except Unavailable as error:
            log.warning("loop_waits", error=error.detail)
            return
        for cycle in cycles:
            try:
                await self._actions[cycle.step](cycle)
            except Refused as error:
                await self._give_up(cycle, error)
            except TrimtabError as error:
                log.warning("cycle_waits", cycle_id=cycle.cycle_id, step=cycle.step.value, error=error.detail)

    # one action a step ---------------------------------------------------------------------------------------------

    async def _noticed(self, cycle: Cycle) -> None:
        least = self._settings.loop_min_rows
        await self._step(
            cycle, LoopStep.GATHERING, f"waiting for {least} labelled rows since {cycle.since.isoformat()}"
        )

    async def _gather(self, cycle: Cycle) -> None:
        settings = self._settings
        answer = await self._peers.labelled_rows(
            cycle.model_id,
            version=cycle.champion_version,
            since=cycle.since,
            min_rows=settings.loop_min_rows,
            limit=settings.loop_max_rows,
        )
        if answer.get("dataset") is None:
            if _age(cycle) > settings.loop_gather_seconds:
                why = f"only {answer['rows']} of {settings.loop_min_rows} rows were labelled in time"
                await self._step(cycle, LoopStep.FAILED, why)
            return
        dataset, rows = str(answer["dataset"]), int(answer["rows"])
        await self._work.run(lambda uow: self._request_training(uow, cycle, dataset, rows), cause=cycle.cause)

    def _request_training(self, uow: UnitOfWork, cycle: Cycle, dataset: str, rows: int) -> None:
        champion_job = tables.job_of_version(uow.connection, cycle.model_id, cycle.champion_version)
        if champion_job is None:
            step(uow, cycle, LoopStep.FAILED, f"the training job of {cycle.champion_version} is not known")
            return
        job = retraining_job(
            champion_job,
            model_id=cycle.model_id,
            dataset=dataset,
            fraction=self._settings.loop_holdout_fraction,
            champion_version=cycle.champion_version,
            champion_artifact=cycle.champion_artifact,
            champion_manifest_digest=cycle.champion_manifest_digest,
            changes=f"retrained with {rows} newly labelled rows after drift ({cycle.cycle_id})",
        )
        job_id = f"job-{uuid.uuid4().hex[:12]}"
        why = f"{rows} labelled rows gathered; a challenger is trained with them"
        if step(uow, cycle, LoopStep.TRAINING, why, facts={"rows": rows, "dataset": dataset}, job_id=job_id):
            request = TrainingRequested(
                job_id=job_id, job=job, reason=why, requested_by="loop", cycle_id=cycle.cycle_id
            )
            current = tables.cycle_by_id(uow.connection, cycle.cycle_id)
            uow.publish(request, cause=current.cause if current else None)

    async def _watch_training(self, cycle: Cycle) -> None:
        if _age(cycle) > self._settings.loop_train_seconds:
            why = f"the training did not end within {self._settings.loop_train_seconds:.0f} s"
            await self._step(cycle, LoopStep.FAILED, why)

    async def _prove(self, cycle: Cycle) -> None:
        assert cycle.comparison is not None, "a cycle at PROVING has a comparison"
        verdict = better.judge(cycle.comparison, alpha=self._settings.loop_alpha, min_gain=self._settings.loop_min_gain)
        if not verdict.passed:
            await self._step(cycle, LoopStep.REJECTED, verdict.explanation, facts=verdict.facts)
            return
        if cycle.challenger_version is None:
            return  # the registry has not registered it yet
        challenger = cycle.challenger_version
        await self._peers.promote(
            cycle.model_id, challenger, "staging", _reason(cycle), f"{cycle.cycle_id}-staging", cycle.cause
        )
        before = await self._work.db.read(lambda connection: _traffic(connection, cycle))
        revision = await self._peers.deploy(
            cycle.model_id,
            challenger,
            canary=self._settings.loop_canary_percent,
            reason=_reason(cycle),
            key=f"{cycle.cycle_id}-canary",
            cause=cycle.cause,
        )
        await self._step(
            cycle,
            LoopStep.CANARY,
            f"{verdict.explanation}; {challenger} gets {self._settings.loop_canary_percent:g} % of the traffic",
            facts=verdict.facts,
            deployment_revision=revision,
            traffic_before=json.dumps({version: [t.requests, t.errors] for version, t in before.items()}),
        )

    async def _watch_canary(self, cycle: Cycle) -> None:
        assert cycle.challenger_version is not None, "a cycle at CANARY has a challenger"
        settings = self._settings
        failure = await self._work.db.read(lambda connection: _load_failure(connection, cycle))
        if failure is not None:
            await self._roll_back(cycle, failure)
            return
        now = await self._work.db.read(lambda connection: _traffic(connection, cycle))
        verdict = canary.judge(
            _since(now, cycle, cycle.challenger_version),
            _since(now, cycle, cycle.champion_version),
            age_seconds=_age(cycle),
            min_seconds=settings.loop_canary_seconds,
            max_seconds=settings.loop_canary_max_seconds,
            min_requests=settings.loop_canary_requests,
            error_margin=settings.loop_canary_error_margin,
        )
        if verdict.passed is None:
            return
        if not verdict.passed:
            await self._roll_back(cycle, verdict.explanation)
            return
        revision = await self._peers.deploy(
            cycle.model_id,
            cycle.challenger_version,
            canary=None,
            reason=_reason(cycle),
            key=f"{cycle.cycle_id}-rollout",
            cause=cycle.cause,
        )
        await self._step(
            cycle, LoopStep.ROLLING_OUT, verdict.explanation, facts=verdict.facts, deployment_revision=revision
        )

    async def _finish(self, cycle: Cycle) -> None:
        assert cycle.challenger_version is not None, "a cycle at ROLLING_OUT has a challenger"
        failure = await self._work.db.read(lambda connection: _load_failure(connection, cycle))
        if failure is not None:
            await self._roll_back(cycle, failure)
            return
        if not await self._work.db.read(lambda connection: _converged(connection, cycle)):
            return
        await self._peers.promote(
            cycle.model_id,
            cycle.challenger_version,
            "production",
            _reason(cycle),
            f"{cycle.cycle_id}-production",
            cycle.cause,
        )
        seconds = _age(cycle, whole=True)
        await self._step(
            cycle,
            LoopStep.PROMOTED,
            f"{cycle.challenger_version} has all the traffic and is in production, {seconds:.0f} s after the signal",
            facts={"seconds": round(seconds, 3)},
        )

    # shared --------------------------------------------------------------------------------------------------------

    async def _roll_back(self, cycle: Cycle, why: str) -> None:
        await self._peers.deploy(
            cycle.model_id,
            cycle.champion_version,
            canary=None,
            reason=_reason(cycle),
            key=f"{cycle.cycle_id}-rollback",
            cause=cycle.cause,
        )
        await self._step(cycle, LoopStep.ROLLED_BACK, f"{why}; all traffic is back on {cycle.champion_version}")

    async def _give_up(self, cycle: Cycle, error: Refused) -> None:
        to = LoopStep.ROLLED_BACK if cycle.step in (LoopStep.CANARY, LoopStep.ROLLING_OUT) else LoopStep.FAILED
        log.error("cycle_refused", cycle_id=cycle.cycle_id, error=error.detail)
        await self._step(cycle, to, f"another service refused: {error.detail}")

    async def _step(self, cycle: Cycle, to: LoopStep, why: str, **rest: Any) -> None:
        cooldown = self._settings.loop_cooldown_seconds
        await self._work.run(lambda uow: step(uow, cycle, to, why, cooldown_seconds=cooldown, **rest))


def _reason(cycle: Cycle) -> str:
    """What other services record; the same at every try, since an Idempotency-Key covers it."""
    return f"the loop's {cycle.cycle_id}"


def _age(cycle: Cycle, *, whole: bool = False) -> float:
    """Seconds since the step, or since the cycle began."""
    return (datetime.now(UTC) - (cycle.opened_at if whole else cycle.step_at)).total_seconds()


def _traffic(connection: sa.Connection, cycle: Cycle) -> dict[str, Traffic]:
    """Requests and errors by version over all live replicas."""
    totals: dict[str, Traffic] = {}
    for replica in tables.live_replicas(connection, datetime.now(UTC)):
        for loaded in replica.versions:
            if loaded.model_id == cycle.model_id:
                so_far = totals.get(loaded.version, NONE)
                totals[loaded.version] = Traffic(so_far.requests + loaded.requests, so_far.errors + loaded.errors)
    return totals


def _since(now: dict[str, Traffic], cycle: Cycle, version: str) -> Traffic:
    """What `version` has answered since the canary began; a replica that restarted counts from zero again."""
    requests, errors = cycle.traffic_before.get(version, (0, 0))
    total = now.get(version, NONE)
    if total.requests < requests:
        return total
    return Traffic(total.requests - requests, total.errors - errors)


def _load_failure(connection: sa.Connection, cycle: Cycle) -> str | None:
    """Why a replica could not load the challenger, or None."""
    for replica in tables.live_replicas(connection, datetime.now(UTC)):
        for loaded in replica.versions:
            if (loaded.model_id, loaded.version, loaded.state) == (cycle.model_id, cycle.challenger_version, "failed"):
                return f"the replica {replica.replica} could not load {cycle.challenger_version}: {loaded.detail}"
    return None


def _converged(connection: sa.Connection, cycle: Cycle) -> bool:
    """Whether every live replica serves the wanted revision."""
    replicas = tables.live_replicas(connection, datetime.now(UTC))
    wanted = cycle.deployment_revision or 0
    return bool(replicas) and all(replica.converged.get(cycle.model_id, -1) >= wanted for replica in replicas)
