"""Opening a cycle and stepping it: the row, its history and the `loop-events` record in one transaction."""

import uuid
from datetime import datetime
from typing import Any, Literal

from schemas.envelope import Envelope
from schemas.events import Alert, DeploymentWanted, LoopStep, LoopStepped, Route
from services.kernel.errors import Conflict
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork
from services.loop import tables
from services.loop.model import FINAL, may_follow
from services.loop.policy import Situation, is_put_off, reason_not_to
from services.loop.tables import Cycle, Signal

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


def consider(uow: UnitOfWork, signal: Signal) -> Cycle | None:
    """Open a cycle for a signal, unless the policy says no.

    One that only comes during a pause or the cool-down is remembered: the driver considers it again afterwards.
    """
    situation, now = situation_of(uow, signal.model_id), uow.now()
    refusal = reason_not_to(situation, signal.version, now)
    if refusal is None:
        try:
            return open_cycle(uow, signal.model_id, signal.since, signal.explanation)
        except Conflict as error:  # another loop was faster
            log.info("signal_without_cycle", model_id=signal.model_id, version=signal.version, reason=error.detail)
            return None
    put_off = is_put_off(situation, signal.version, now)
    if put_off:
        tables.remember_signal(uow.connection, signal)
    log.info(
        "signal_without_cycle", model_id=signal.model_id, version=signal.version, reason=refusal, remembered=put_off
    )
    return None


def reconsider(uow: UnitOfWork, signal: Signal) -> Cycle | None:
    """Consider a remembered signal again; it is forgotten unless it has to wait once more."""
    if not tables.forget_signal(uow.connection, signal.model_id, signal.signal_id):
        return None
    return consider(uow, signal)


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
    if not tables.add_cycle(uow.connection, cycle):
        raise Conflict(f"a cycle of {model_id} was opened at the same time")
    tables.forget_signal(uow.connection, model_id)
    _announce(uow, cycle, LoopStep.NOTICED, why, {}, {})
    return cycle


def step(
    uow: UnitOfWork,
    cycle: Cycle,
    to: LoopStep,
    why: str,
    *,
    cooldown_seconds: float,
    facts: dict[str, Any] | None = None,
    **columns: Any,
) -> bool:
    """Move `cycle` to `to`. False, and nothing done, when it is no longer where `cycle` says (somebody else moved it).

    The cool-down of `cooldown_seconds` begins if `to` ends the cycle.
    """
    if not may_follow(cycle.step, to):
        return False
    now = uow.now()
    columns |= {"step": to.value, "open": to not in FINAL, "step_at": now.timestamp()}
    if not tables.change_at(uow.connection, cycle, **columns):
        return False
    if to in FINAL:
        tables.start_cooldown(uow.connection, cycle.model_id, cooldown_seconds, now)
        if cycle.alerted:
            uow.publish(_alert(cycle, "resolved", why))
    _announce(uow, cycle, to, why, facts or {}, columns)
    return True


def alert(uow: UnitOfWork, cycle: Cycle, detail: str) -> bool:
    """Tell a person that the loop can't bring `cycle` to an end by itself: once a cycle, then False."""
    if not tables.mark_alerted(uow.connection, cycle):
        return False
    uow.publish(_alert(cycle, "raised", detail))
    return True


def _alert(cycle: Cycle, state: Literal["raised", "resolved"], detail: str) -> Alert:
    return Alert(
        alert_id=f"loop-{cycle.cycle_id}",
        model_id=cycle.model_id,
        state=state,
        severity="critical",
        title=f"the loop could not restore the champion of {cycle.model_id}",
        detail=detail,
        cause=cycle.cycle_id,
    )


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
