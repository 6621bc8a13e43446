"""The driver: looks at every open cycle and does what its step waits for.

Each action is safe to repeat: HTTP changes carry an Idempotency-Key made of the cycle and the action, and the step
itself is a compare-and-swap on the cycle's row. So a crash between an action and its step, or two loops at once, do no
harm. A deployment is replaced only at the revision that the cycle knows (If-Match): a person's own deployment wins.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from schemas.commands import TrainingCancelled, TrainingRequested
from schemas.events import DeploymentWanted, LoopStep
from services.kernel.errors import TrimtabError, Unavailable
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork, Work
from services.loop import replicas, tables
from services.loop.cycle import alert, champion_of, reconsider, step
from services.loop.gates import better, canary
from services.loop.peers import Outdated, Peers, Refused
from services.loop.policy import LONGEST_PAUSE_SECONDS, polling_pause_seconds, retraining_job
from services.loop.settings import LoopSettings
from services.loop.tables import Cycle

log = get_logger(__name__)

_STAGES = ("staging", "production")
_REJECTED = "rejections"
"""The registry's name of the gate that only those who rejected a version can open."""


class Driver:
    """Moves cycles along. One `tick` looks at each open cycle once."""

    def __init__(self, settings: LoopSettings, work: Work, peers: Peers) -> None:
        self._settings = settings
        self._work = work
        self._peers = peers
        self._not_before: dict[str, float] = {}
        """Cycle id -> monotonic time before which it is left alone."""
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
            await self._reconsider_signals()
            cycles = await self._work.db.read(tables.open_cycles)
        except Unavailable as error:
            log.warning("loop_waits", error=error.detail)
            return
        now = time.monotonic()
        still_open = {cycle.cycle_id for cycle in cycles}
        self._not_before = {each: at for each, at in self._not_before.items() if each in still_open and at > now}
        for cycle in cycles:
            if cycle.cycle_id not in self._not_before:
                await self._advance(cycle)

    async def _reconsider_signals(self) -> None:
        """Signals that came during a pause or a cool-down that has ended."""
        due = await self._work.db.read(lambda connection: tables.due_signals(connection, datetime.now(UTC)))
        for signal in due:
            await self._work.run(partial(reconsider, signal=signal), cause=signal.cause)

    async def _advance(self, cycle: Cycle) -> None:
        try:
            try:
                if not await self._was_overridden(cycle):
                    await self._actions[cycle.step](cycle)
            except Outdated:
                await self._look_again(cycle)
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
        redacted = await self._redacted(cycle, answer)
        if redacted:
            why = (
                f"the predictions of {cycle.model_id} are logged with {', '.join(redacted)} redacted, so no challenger "
                "can learn from them: log these features as they are, or train a version without them"
            )
            await self._step(cycle, LoopStep.FAILED, why, facts={"redacted": redacted})
            return
        if answer.get("dataset") is None:
            if _age(cycle) > settings.loop_gather_seconds:
                why = f"only {answer['rows']} of {settings.loop_min_rows} rows were labelled in time"
                await self._step(cycle, LoopStep.FAILED, why)
                return
            self._leave_alone(cycle, polling_pause_seconds(_age(cycle), settings.loop_tick_seconds))
            return
        dataset, rows = str(answer["dataset"]), int(answer["rows"])
        await self._work.run(lambda uow: self._request_training(uow, cycle, dataset, rows), cause=cycle.cause)

    async def _redacted(self, cycle: Cycle, answer: dict[str, Any]) -> list[str]:
        """The features that the champion was trained on and whose values the log does not have."""
        names = [str(name) for name in answer.get("redacted") or ()]
        if not names:
            return []
        champion_job = await self._work.db.read(
            lambda connection: tables.job_of_version(connection, cycle.model_id, cycle.champion_version)
        )
        dropped = champion_job.dataset_config.drop_columns if champion_job is not None else ()
        return [name for name in names if name not in dropped]

    def _request_training(self, uow: UnitOfWork, cycle: Cycle, dataset: str, rows: int) -> None:
        champion_job = tables.job_of_version(uow.connection, cycle.model_id, cycle.champion_version)
        cooldown = self._settings.loop_cooldown_seconds
        if champion_job is None:
            why = f"the training job of {cycle.champion_version} is not known"
            step(uow, cycle, LoopStep.FAILED, why, cooldown_seconds=cooldown)
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
        facts = {"rows": rows, "dataset": dataset}
        if step(uow, cycle, LoopStep.TRAINING, why, cooldown_seconds=cooldown, facts=facts, job_id=job_id):
            request = TrainingRequested(
                job_id=job_id, job=job, reason=why, requested_by="loop", cycle_id=cycle.cycle_id
            )
            current = tables.cycle_by_id(uow.connection, cycle.cycle_id)
            uow.publish(request, cause=current.cause if current else None)

    async def _watch_training(self, cycle: Cycle) -> None:
        if _age(cycle) > self._settings.loop_train_seconds:
            why = f"the training did not end within {self._settings.loop_train_seconds:.0f} s"
            await self._work.run(lambda uow: self._cancel_training(uow, cycle, why))

    def _cancel_training(self, uow: UnitOfWork, cycle: Cycle, why: str) -> None:
        cooldown = self._settings.loop_cooldown_seconds
        if step(uow, cycle, LoopStep.FAILED, why, cooldown_seconds=cooldown) and cycle.job_id is not None:
            uow.publish(TrainingCancelled(job_id=cycle.job_id, reason=f"{_reason(cycle)}: {why}"), cause=cycle.cause)

    async def _prove(self, cycle: Cycle) -> None:
        assert cycle.comparison is not None, "a cycle at PROVING has a comparison"
        verdict = better.judge(cycle.comparison, alpha=self._settings.loop_alpha, min_gain=self._settings.loop_min_gain)
        if not verdict.passed:
            await self._step(cycle, LoopStep.REJECTED, verdict.explanation, facts=verdict.facts)
            return
        if cycle.challenger_version is None:
            if _age(cycle) > self._settings.loop_register_seconds:
                why = (
                    f"the registry did not register the challenger of {cycle.job_id} within "
                    f"{self._settings.loop_register_seconds:.0f} s; if it refused it, an alert says why"
                )
                await self._step(cycle, LoopStep.FAILED, why)
            return
        if cycle.deployment_revision is None:
            await self._find_base(cycle)
            return
        challenger = cycle.challenger_version
        if not await self._passes_gates(cycle, challenger):
            return
        await self._peers.promote(
            cycle.model_id, challenger, "staging", _reason(cycle), f"{cycle.cycle_id}-staging", cycle.cause
        )
        before = await self._work.db.read(lambda connection: replicas.traffic(connection, cycle))
        revision = await self._peers.deploy(
            cycle.model_id,
            challenger,
            replaces=cycle.deployment_revision,
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

    async def _passes_gates(self, cycle: Cycle, challenger: str) -> bool:
        """Whether the registry's policy lets the challenger go all the way; if not yet, people are asked, once.

        It gets no traffic before it may go to production: else every cycle would end with a rollback. Raises `Refused`
        when somebody rejected it, or `loop_approval_seconds` are over.
        """
        found = {stage: await self._peers.unmet_gates(cycle.model_id, challenger, stage) for stage in _STAGES}
        unmet = {stage: gates for stage, gates in found.items() if gates}
        if not unmet:
            return True
        why = "; ".join(f"before {stage}: {says}" for stage, gates in unmet.items() for says in gates.values())
        if any(_REJECTED in gates for gates in unmet.values()):
            raise Refused(f"{challenger} was rejected: {why}")
        if _age(cycle) > self._settings.loop_approval_seconds:
            waited = self._settings.loop_approval_seconds
            raise Refused(f"{challenger} did not pass the policy's gates within {waited:.0f} s: {why}")
        for stage in unmet:
            key = f"{cycle.cycle_id}-ask-{stage}"
            await self._peers.ask_approval(cycle.model_id, challenger, stage, _reason(cycle), key, cycle.cause)
        log.info("cycle_waits_for_gates", cycle_id=cycle.cycle_id, version=challenger, unmet=why)
        self._leave_alone(cycle, polling_pause_seconds(_age(cycle), self._settings.loop_tick_seconds))
        return False

    async def _find_base(self, cycle: Cycle) -> None:
        """Remember the revision that the canary replaces, if the champion still has the most traffic."""
        present = await self._peers.deployment(cycle.model_id)
        champion = champion_of(present)
        if champion is None or champion.version != cycle.champion_version:
            await self._supersede(cycle, present)
        else:
            await self._know_revision(cycle, present.revision)

    async def _watch_canary(self, cycle: Cycle) -> None:
        assert cycle.challenger_version is not None, "a cycle at CANARY has a challenger"
        assert cycle.deployment_revision is not None, "a cycle at CANARY has deployed"
        settings = self._settings
        failure = await self._work.db.read(lambda connection: replicas.load_failure(connection, cycle))
        if failure is not None:
            await self._roll_back(cycle, failure)
            return
        now = await self._work.db.read(lambda connection: replicas.traffic(connection, cycle))
        verdict = canary.judge(
            replicas.since(now, cycle, cycle.challenger_version),
            replicas.since(now, cycle, cycle.champion_version),
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
            replaces=cycle.deployment_revision,
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
        failure = await self._work.db.read(lambda connection: replicas.load_failure(connection, cycle))
        if failure is not None:
            await self._roll_back(cycle, failure)
            return
        if not await self._work.db.read(lambda connection: replicas.converged(connection, cycle)):
            limit = self._settings.loop_rollout_seconds
            if _age(cycle) > limit:
                await self._roll_back(cycle, f"the replicas did not all serve the rollout within {limit:.0f} s")
            return
        present = await self._peers.deployment(cycle.model_id)
        if present.revision != cycle.deployment_revision:
            raise Outdated(f"the deployment of {cycle.model_id} is at revision {present.revision}")
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
        """All traffic back to the champion. Raises `Outdated` when somebody has changed the deployment."""
        assert cycle.deployment_revision is not None, "nothing is rolled back that was not deployed"
        await self._peers.deploy(
            cycle.model_id,
            cycle.champion_version,
            replaces=cycle.deployment_revision,
            canary=None,
            reason=_reason(cycle),
            key=f"{cycle.cycle_id}-rollback",
            cause=cycle.cause,
        )
        await self._step(cycle, LoopStep.ROLLED_BACK, f"{why}; all traffic is back on {cycle.champion_version}")

    async def _give_up(self, cycle: Cycle, error: Refused) -> None:
        """End a cycle that another service refused, after a rollback if anything of it is deployed.

        When the rollback is refused as well, the cycle stays where it is, a person is told, and it is tried again.
        """
        log.error("cycle_refused", cycle_id=cycle.cycle_id, error=error.detail)
        why = f"another service refused: {error.detail}"
        try:
            if await self._may_be_deployed(cycle):
                await self._roll_back(cycle, why)
            else:
                await self._step(cycle, LoopStep.FAILED, why)
        except Outdated:
            await self._look_again(cycle)
        except Refused as again:
            detail = f"{why}; {cycle.champion_version} could not be restored either: {again.detail}"
            log.error("champion_not_restored", cycle_id=cycle.cycle_id, step=cycle.step.value, error=again.detail)
            await self._work.run(lambda uow: alert(uow, cycle, detail), cause=cycle.cause)
            self._leave_alone(cycle, LONGEST_PAUSE_SECONDS)

    async def _may_be_deployed(self, cycle: Cycle) -> bool:
        if cycle.step is not LoopStep.PROVING:
            return cycle.step in (LoopStep.CANARY, LoopStep.ROLLING_OUT)
        if cycle.deployment_revision is None:
            return False
        present = await self._peers.deployment(cycle.model_id)
        if present.reason != _reason(cycle):
            return False
        if present.revision != cycle.deployment_revision:
            raise Outdated(f"the canary of {cycle.cycle_id} took effect as revision {present.revision}")
        return True

    async def _was_overridden(self, cycle: Cycle) -> bool:
        """Whether a newer deployment of somebody else was announced; the cycle ends then."""
        if cycle.step not in (LoopStep.CANARY, LoopStep.ROLLING_OUT):
            return False
        row = await self._work.db.read(lambda connection: tables.model_row(connection, cycle.model_id))
        wanted = tables.deployment_of(row)
        known = cycle.deployment_revision or 0
        if wanted is None or wanted.revision <= known or wanted.reason == _reason(cycle):
            return False
        await self._supersede(cycle, wanted)
        return True

    async def _look_again(self, cycle: Cycle) -> None:
        """The deployment is not the one that the cycle knows: it is its own of an earlier try, or somebody else's."""
        present = await self._peers.deployment(cycle.model_id)
        if present.reason == _reason(cycle):
            await self._know_revision(cycle, present.revision)
        else:
            await self._supersede(cycle, present)

    async def _know_revision(self, cycle: Cycle, revision: int) -> None:
        await self._work.run(lambda uow: tables.change_at(uow.connection, cycle, deployment_revision=revision))

    async def _supersede(self, cycle: Cycle, present: DeploymentWanted) -> None:
        who = present.actor or "somebody"
        why = f"{who} deployed revision {present.revision} of {cycle.model_id} meanwhile; the loop leaves it as it is"
        await self._step(cycle, LoopStep.SUPERSEDED, why, facts={"revision": present.revision, "actor": present.actor})

    def _leave_alone(self, cycle: Cycle, seconds: float) -> None:
        self._not_before[cycle.cycle_id] = time.monotonic() + seconds

    async def _step(self, cycle: Cycle, to: LoopStep, why: str, **rest: Any) -> None:
        cooldown = self._settings.loop_cooldown_seconds
        await self._work.run(lambda uow: step(uow, cycle, to, why, cooldown_seconds=cooldown, **rest))


def _reason(cycle: Cycle) -> str:
    """What other services record; the same at every try, since an Idempotency-Key covers it."""
    return f"the loop's {cycle.cycle_id}"


def _age(cycle: Cycle, *, whole: bool = False) -> float:
    """Seconds since the step, or since the cycle began."""
    return (datetime.now(UTC) - (cycle.opened_at if whole else cycle.step_at)).total_seconds()
