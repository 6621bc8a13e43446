"""`GET /mlops/models/{id}/drift` and the status page: what the windows say, with every number's definition."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from services.kernel.auth import Principal
from services.kernel.db import Database
from services.monitor import performance, signals, tables
from services.monitor.drift import DEFINITIONS
from services.monitor.labels import open_window
from services.monitor.layout import CountLayout
from services.monitor.model import DriftDetection
from services.monitor.scores import score_windows
from services.monitor.verdicts import expectations, read_scores, redacted_places
from services.monitor.watched import Watched, Watchlist
from services.monitor.window import BadWindow, Window

METHODS = ("psi", "kl", "kl_reverse", "jensen_shannon", "wasserstein")


def drift_report(
    db: Database, watchlist: Watchlist, model_id: str, version: str | None, windows: int
) -> dict[str, Any]:
    """The whole document. Blocks: call it in a thread. Raises `NotFound` for a model that is not known.

    `current` is the window that still fills, or the last closed one while that is empty; `history` holds the newest
    `windows` closed ones, oldest first.
    """
    version = version or watchlist.default_version(model_id)
    watched = watchlist.get(model_id, version)
    plan = watchlist.plan(model_id).drift_detection
    facts = db.read_now(lambda connection: _facts(connection, model_id, version, windows))
    document: dict[str, Any] = {
        "model_id": model_id,
        "version": version,
        "method": plan.method,
        "threshold": plan.threshold,
        "significance": plan.significance,
        "window_rows": plan.window_size,
        "enabled": plan.enabled,
        "rows_counted": facts["rows"],
        "rows_sampled_out": facts["sampled_out"],
        "drifting": bool(facts["alarm"].get("named")),
        "signal": _signal(facts["alarm"]),
        "definitions": dict(DEFINITIONS),
        "performance": _performance(watched, facts),
    }
    if watched.layout is None:
        return document | {"note": "this version was registered without a baseline: nothing to compare with"}
    layout = watched.layout
    document["baseline"] = {"rows": layout.baseline.rows, "digest": layout.digest, "features": len(layout.features)}
    document["current"] = _current(watched, layout, plan, facts["open"], facts["windows"])
    document["history"] = [_past(layout, row) for row in facts["windows"] if row.digest == layout.digest]
    return document


def _facts(connection: sa.Connection, model_id: str, version: str, windows: int) -> dict[str, Any]:
    opened = connection.execute(
        sa.select(tables.open_windows).where(
            tables.open_windows.c.model_id == model_id, tables.open_windows.c.version == version
        )
    ).all()
    rows, sampled_out = connection.execute(
        sa.select(sa.func.sum(tables.tallies.c.rows), sa.func.sum(tables.tallies.c.sampled_out)).where(
            tables.tallies.c.model_id == model_id, tables.tallies.c.version == version
        )
    ).one()
    past = connection.execute(
        sa.select(tables.windows)
        .where(tables.windows.c.model_id == model_id, tables.windows.c.version == version)
        .order_by(tables.windows.c.id.desc())
        .limit(windows)
    ).all()
    states = {
        row.kind: json.loads(row.state)
        for row in connection.execute(
            sa.select(tables.signals).where(tables.signals.c.model_id == model_id, tables.signals.c.version == version)
        )
    }
    measured = connection.execute(
        sa.select(tables.performance)
        .where(
            tables.performance.c.model_id == model_id,
            tables.performance.c.version == version,
            tables.performance.c.closed_at.is_not(None),
        )
        .order_by(tables.performance.c.id.desc())
        .limit(windows)
    ).all()
    return {
        "open": opened,
        "rows": int(rows or 0),
        "sampled_out": int(sampled_out or 0),
        "windows": past[::-1],
        "alarm": states.get("drift", {}),
        "labels": states.get("labels", {}),
        "worse": bool(states.get("performance", {}).get("signal_id")),
        "measured": measured[::-1],
        "measuring": open_window(connection, model_id, version),
    }


def _signal(alarm: Mapping[str, Any]) -> dict[str, Any] | None:
    if not alarm.get("named"):
        return None
    return {
        "signal_id": alarm["signal_id"],
        "features": alarm["named"],
        "first_window": alarm["first_window"],
        "calm_windows": alarm["calm"],
    }


def _performance(watched: Watched, facts: Mapping[str, Any]) -> dict[str, Any]:
    filling = facts["measuring"]
    return {
        "metric": "accuracy",
        "baseline": watched.accuracy,
        "baseline_rows": watched.accuracy_rows,
        "worse": facts["worse"],
        "foreign_labels": facts["labels"].get("foreign", 0),
        "foreign_label_example": facts["labels"].get("example"),
        "current": _measured(filling["rows"], filling["correct"], filling["start_us"], filling["end_us"]),
        "history": [_measured(row.rows, row.correct, row.start_us, row.end_us) for row in facts["measured"]],
    }


def _measured(rows: int, correct: int, start_us: int, end_us: int) -> dict[str, Any] | None:
    if not rows:
        return None
    low, high = performance.wilson(correct, rows)
    return {
        "start": signals.instant(start_us).isoformat(),
        "end": signals.instant(end_us).isoformat(),
        "labelled_rows": rows,
        "value": correct / rows,
        "interval": [low, high],
    }


def _current(
    watched: Watched, layout: CountLayout, plan: DriftDetection, opened: Sequence[Any], closed_ones: Sequence[Any]
) -> dict[str, Any] | None:
    window = Window.empty(layout)
    for row in opened:
        try:
            window = window.merge(Window.from_bytes(row.window))
        except BadWindow:
            continue
    complete = window.rows == 0
    if complete:
        closed = [row.last_closed for row in opened if row.last_closed is not None]
        candidates = [Window.from_bytes(data) for data in closed]
        window = max(candidates, key=lambda one: one.end_us, default=window)
    if not window.rows:
        return None
    told = closed_ones[-1:] if complete else opened
    redacted = sorted({name for row in told for name in json.loads(row.redacted)})
    left_out = redacted_places(layout, redacted)
    scores = score_windows(layout, [window])
    verdict = watched.calibration(plan).judge(scores, 0, left_out)
    expected = expectations(watched, plan, window.rows)
    bins = layout.bins(window.counts)
    features = []
    for number, feature in enumerate(layout.features):
        first = int(layout.bin_starts[number])
        counts = bins[first : first + len(feature.counts)]
        if left_out[number]:
            features.append({"feature": feature.name, "kind": feature.kind, "redacted": True, "rows": window.rows})
            continue
        features.append(
            {
                "feature": feature.name,
                "kind": feature.kind,
                "method": verdict.methods[number],
                "score": _number(verdict.score[number]),
                "expected": _number(verdict.expected[number]),
                "expected_sd": _number(verdict.expected_sd[number]),
                "debiased": _number(verdict.debiased[number]),
                "p_value": _number(verdict.p_value[number]),
                "significant": bool(verdict.significant[number]),
                "drifted": bool(verdict.drifted[number]),
                "scores": {method: _number(scores.by_method[method][0, number]) for method in METHODS},
                "wasserstein_bound": _number(scores.wasserstein_bound[0, number]),
                "expected_without_drift": {method: _number(expected[method][number]) for method in METHODS},
                "rows": window.rows,
                "baseline_rows": feature.rows,
                "bins": [
                    {"bin": name, "baseline": base, "window": int(count)}
                    for name, base, count in zip(feature.bin_names, feature.counts, counts, strict=True)
                ],
            }
        )
    return {
        "complete": complete,
        "rows": window.rows,
        "start": signals.instant(window.start_us).isoformat(),
        "end": signals.instant(window.end_us).isoformat(),
        "redacted_features": redacted,
        "features": features,
    }


def _past(layout: CountLayout, row: Any) -> dict[str, Any]:
    scores = read_scores(row.scores, len(layout.features))
    return {
        "rows": row.rows,
        "start": signals.instant(row.start_us).isoformat(),
        "end": signals.instant(row.end_us).isoformat(),
        "method": row.method,
        "threshold": row.threshold,
        "drifted": json.loads(row.drifted),
        "redacted_features": json.loads(row.redacted),
        "step": row.step,
        "features": {
            feature.name: {
                "method": (judged := _judged_by(layout, row.method, number)),
                "score": _number(scores[judged][number]),
                **{method: _number(scores[method][number]) for method in METHODS},
                "expected": _number(scores["expected"][number]),
                "p_value": _number(scores["p_value"][number]),
            }
            for number, feature in enumerate(layout.features)
        },
    }


def _judged_by(layout: CountLayout, method: str, number: int) -> str:
    return "psi" if method == "wasserstein" and number >= layout.number_count else method


def status(connection: sa.Connection, principal: Principal) -> list[dict[str, Any]]:
    """Counted rows, and rows that were answered and not logged, by model and version; what came again, never came, or
    was shed, and labels of what was not logged, by model. Of those that `principal` sees."""
    table = tables.tallies.c
    of_model = ("repeated", "missing", "shed", "labels_left_out")
    of_version = ("rows", "errors", "sampled_out")
    names = (*of_version, *of_model)
    rows = connection.execute(
        sa.select(table.model_id, table.version, *(sa.func.sum(table[name]).label(name) for name in names))
        .group_by(table.model_id, table.version)
        .order_by(table.model_id, table.version)
    )
    models: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not _sees(principal, row.model_id):
            continue
        model = models.setdefault(
            row.model_id, {"model_id": row.model_id, **dict.fromkeys(of_model, 0), "versions": {}}
        )
        if row.version:
            model["versions"][row.version] = {name: int(getattr(row, name)) for name in of_version}
        else:
            model |= {name: int(getattr(row, name)) for name in of_model}
            models[row.model_id] = model
    return list(models.values())


def labels_waiting(connection: sa.Connection, principal: Principal) -> int:
    """Labels whose predictions have not been found, of the models that `principal` sees."""
    label = tables.labels.c
    waiting = (
        sa.select(label.model_id, sa.func.count().label("labels"))
        .where(label.block_id.is_(None))
        .group_by(label.model_id)
    )
    return sum(row.labels for row in connection.execute(waiting) if _sees(principal, row.model_id))


def _sees(principal: Principal, model_id: str) -> bool:
    return not principal.model_prefixes or model_id.startswith(principal.model_prefixes)


def _number(value: Any) -> float | None:
    return None if not np.isfinite(value) else float(value)
