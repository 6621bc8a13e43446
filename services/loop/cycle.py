"""Opening a cycle and stepping it: the row, its history and the `loop-events` record in one transaction."""

import uuid
from datetime import datetime
from typing import Any

from schemas.envelope import Envelope
from schemas.events import DeploymentWanted, LoopStep, LoopStepped, Route
from services.kernel.errors import Conflict
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork
from services.loop import tables
from services.loop.model import FINAL, may_follow
from services.loop.policy import Situation, reason_not_to
from services.loop.tables import Cycle

log = get_logger(__name__)


def champion_of(deployment: DeploymentWanted | None) -> Route | None:
    """The route with the most traffic, or None when nothing is deployed."""
    if deployment is None or not deployment.routes:
        return None
    return max(deployment.routes, key=lambda route: route.weight)


def situation_of(uow: UnitOfWork, model_id: str) -> Situation:
    """What is known about the model now."""
    row = tables.model_row(uow.connection, model_id)
    champion = champion_of(tables.deployment_of(row))
    version = champion.version if champion else None
    until = row.cooldown_until if row is not None else None
    return Situation(
        paused=bool(row.paused) if row is not None else False,
        cycle_open=tables.open_cycle_of(uow.connection, model_id) is not None,
        serving_version=version,
        has_job=version is not None and tables.job_of_version(uow.connection, model_id, version) is not None,
        cooldown_until=datetime.fromtimestamp(until, uow.now().tzinfo) if until is not None else None,
    )


def consider(uow: UnitOfWork, model_id: str, version: str, since: datetime, why: str) -> Cycle | None:
    """Open a cycle for a signal about `version`, unless the policy says no."""
    refusal = reason_not_to(situation_of(uow, model_id), version, uow.now())
    if refusal is not None:
        log.info("signal_without_cycle", model_id=model_id, version=version, reason=refusal)
        return None
    return open_cycle(uow, model_id, since, why)


def open_cycle(uow: UnitOfWork, model_id: str, since: datetime, why: str) -> Cycle:
    """Open a cycle at NOTICED. Raises `Conflict` when nothing is deployed or a cycle is open."""
    champion = champion_of(tables.deployment_of(tables.model_row(uow.connection, model_id)))
    if champion is None:
        raise Conflict(f"nothing of {model_id} is deployed: `trimtab deploy {model_id}` first")
    if tables.open_cycle_of(uow.connection, model_id) is not None:
        raise Conflict(f"a cycle of {model_id} is open already: `trimtab loop status {model_id}` shows it")
    now = uow.now()
    cycle = Cycle(
        cycle_id=f"cycle-{uuid.uuid4().hex[:12]}",
        model_id=model_id,
        step=LoopStep.NOTICED,
        opened_at=now,
        step_at=now,
        since=since,
        champion_version=champion.version,
        champion_artifact=champion.artifact,
        champion_manifest_digest=champion.manifest_digest,
        challenger_version=None,
        job_id=None,
        comparison=None,
        deployment_revision=None,
        traffic_before={},
        cause=None,
    )
    tables.add_cycle(uow.connection, cycle)
    _announce(uow, cycle, LoopStep.NOTICED, why, {}, {})
    return cycle


def step(
    uow: UnitOfWork,
    cycle: Cycle,
    to: LoopStep,
    why: str,
    *,
    facts: dict[str, Any] | None = None,
    cooldown_seconds: float = 0.0,
    **columns: Any,
) -> bool:
    """Move `cycle` to `to`. False when it is no longer where `cycle` says (somebody else moved it)."""
    current = tables.cycle_by_id(uow.connection, cycle.cycle_id)
    if current is None or current.step is not cycle.step or not may_follow(cycle.step, to):
        return False
    tables.update_cycle(
        uow.connection,
        cycle.cycle_id,
        step=to.value,
        open=to not in FINAL,
        step_at=uow.now().timestamp(),
        **columns,
    )
    if to in FINAL:
        tables.start_cooldown(uow.connection, cycle.model_id, cooldown_seconds, uow.now())
    _announce(uow, cycle, to, why, facts or {}, columns)
    return True


def _announce(
    uow: UnitOfWork, cycle: Cycle, to: LoopStep, why: str, facts: dict[str, Any], columns: dict[str, Any]
) -> None:
    now = uow.now()
    message = LoopStepped(
        model_id=cycle.model_id,
        cycle_id=cycle.cycle_id,
        step=to,
        explanation=why,
        champion_version=cycle.champion_version,
        challenger_version=columns.get("challenger_version", cycle.challenger_version),
        job_id=columns.get("job_id", cycle.job_id),
        facts=facts,
    )
    tables.add_step(uow.connection, cycle.cycle_id, to, why, facts, now)
    handled = uow.envelope
    cause = cycle.cause if handled is None else handled
    event_id = uow.publish(message, cause=cause)
    carried = Envelope(
        id=event_id,
        source="/trimtab/loop",
        type=message.TYPE,
        time=now,
        traceparent=cause.traceparent if cause else None,
        correlation_id=(cause.correlation_id or cause.id) if cause else event_id,
    )
    tables.update_cycle(uow.connection, cycle.cycle_id, cause=carried.model_dump_json())
    log.info("loop_stepped", model_id=cycle.model_id, cycle_id=cycle.cycle_id, step=to.value, why=why)
