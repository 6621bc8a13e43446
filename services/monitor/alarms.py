"""The alarms in the database: a closed window moves them on, and what they raise is published in the same step."""

import json
from typing import Any

import sqlalchemy as sa

from schemas.envelope import new_id
from schemas.events import SignalState
from schemas.events import Window as WindowEvent
from services.kernel.uow import UnitOfWork
from services.monitor import alarm, signals, skew, tables
from services.monitor.alarm import Alarm, AlarmRule, Step
from services.monitor.verdicts import ClosedWindow

RULE = AlarmRule()


class Alarms:
    """The alarms of the versions that one transaction touches, read once and written back once."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._states: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._changed: set[tuple[str, str, str]] = set()

    def pass_window(self, closed: ClosedWindow) -> Step:
        """Move the drift and the skew alarm of the window's version on by one window; what happened to the first."""
        self._pass_skew(closed)
        model_id, version = closed.watched.model_id, closed.watched.version
        state = self.state(model_id, version, "drift")
        seen = signals.span(closed.window.start_us, closed.window.end_us, closed.window.rows)
        recent = [(frozenset(names), window) for names, window in state.get("recent", [])]
        before = Alarm(tuple(names for names, _ in recent), frozenset(state.get("named", [])), state.get("calm", 0))
        after, happened = alarm.step(before, closed.names, closed.verdict, closed.plan.threshold, RULE)
        kept = [*state.get("recent", []), [sorted(closed.drifted), seen.model_dump(mode="json")]]
        following: dict[str, Any] = {
            "recent": kept[len(kept) - len(after.recent) :],
            "named": sorted(after.named),
            "calm": after.calm,
            "signal_id": state.get("signal_id"),
            "first_window": state.get("first_window"),
        }
        if happened is Step.RAISED:
            first = next((window for names, window in following["recent"] if set(names) & after.named), None)
            following |= {"signal_id": new_id(), "first_window": first or seen.model_dump(mode="json")}
        if happened in (Step.RAISED, Step.UPDATED):
            told = SignalState.RAISED if happened is Step.RAISED else SignalState.UPDATED
            began = WindowEvent.model_validate(following["first_window"])
            self._uow.publish(signals.drift_found(closed, following["signal_id"], told, after.named, began))
        if happened is Step.RESOLVED:
            self._uow.publish(signals.drift_over(closed, state["signal_id"], RULE.calm))
            following |= {"signal_id": None, "first_window": None}
        self.put(model_id, version, "drift", following)
        return happened

    def state(self, model_id: str, version: str, kind: str) -> dict[str, Any]:
        """The stored state of one alarm, empty at first; on PostgreSQL its row stays locked."""
        key = model_id, version, kind
        if key not in self._states:
            table = tables.signals
            found = self._uow.connection.execute(
                sa.select(table.c.state)
                .where(table.c.model_id == model_id, table.c.version == version, table.c.kind == kind)
                .with_for_update()
            ).scalar_one_or_none()
            self._states[key] = json.loads(found) if found else {}
        return self._states[key]

    def put(self, model_id: str, version: str, kind: str, state: dict[str, Any]) -> None:
        """Replace the state of one alarm."""
        self._states[model_id, version, kind] = state
        self._changed.add((model_id, version, kind))

    def write(self) -> None:
        """Write what changed."""
        rows = [
            {"model_id": key[0], "version": key[1], "kind": key[2], "state": json.dumps(self._states[key])}
            for key in sorted(self._changed)
        ]
        tables.upsert(self._uow.connection, tables.signals, rows)
        self._changed.clear()

    def _pass_skew(self, closed: ClosedWindow) -> None:
        model_id, version = closed.watched.model_id, closed.watched.version
        state = self.state(model_id, version, "skew")
        before = skew.SkewAlarm(frozenset(state.get("named", [])), state.get("calm", 0))
        after, tell = skew.step(before, closed.skewed)
        if tell:
            self._uow.publish(signals.skew_found(closed, new_id(), closed.skewed))
        if after != before:
            self.put(model_id, version, "skew", {"named": sorted(after.named), "calm": after.calm})
