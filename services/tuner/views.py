"""Experiments as the API shows them."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from schemas.jobs import Experiment, TrainingJob
from services.tuner import tables
from services.tuner.model import Score, TrialState, best, with_parameters
from services.tuner.tables import json_of


def summary(connection: sa.Connection, row: Any) -> dict[str, Any]:
    """An experiment without its trials."""
    experiment = Experiment.model_validate_json(row.document)
    rows = tables.trials_of(connection, row.experiment_id)
    winner = next((trial for trial in rows if trial.number == row.best_trial), None)
    return {
        "experiment_id": row.experiment_id,
        "name": row.name,
        "model_id": row.model_id,
        "state": row.state,
        "objective": experiment.objective,
        "metric": experiment.metric,
        "search_strategy": experiment.search_strategy,
        "base_job_from": row.base_job_from,
        "requested_by": row.requested_by,
        "created_at": _time(row.created_at),
        "ended_at": _time(row.ended_at),
        "elapsed_seconds": round((row.ended_at or time.time()) - row.created_at, 3),
        "trial_counts": {state.value: sum(trial.state == state for trial in rows) for state in TrialState},
        "planned_trials": len(rows),
        "best_trial": row.best_trial,
        "best_value": row.best_value,
        "best_parameters": json_of(winner.parameters) if winner is not None else None,
    }


def detail(connection: sa.Connection, row: Any) -> dict[str, Any]:
    """An experiment with every trial and, once there is a best one, the job that would train it again."""
    rows = tables.trials_of(connection, row.experiment_id)
    winner = next((trial for trial in rows if trial.number == row.best_trial), None)
    base = TrainingJob.model_validate_json(row.base_job)
    best_job = with_parameters(base, json_of(winner.parameters)) if winner is not None else None
    return summary(connection, row) | {
        "trials": [_trial(trial) for trial in rows],
        "experiment": json_of(row.document),
        "best_job": best_job.model_dump(mode="json", by_alias=True, exclude_none=True) if best_job else None,
    }


def comparison(connection: sa.Connection, rows: Sequence[Any]) -> dict[str, Any]:
    """Experiments side by side; `best` only where all have the same metric and objective."""
    table = [summary(connection, row) for row in rows]
    parameters = sorted({name for row in rows for name in Experiment.model_validate_json(row.document).search_space})
    measured = {(item["metric"], item["objective"]) for item in table}
    winner = None
    if len(measured) == 1:
        scores = [Score(i, item["best_value"]) for i, item in enumerate(table) if item["best_value"] is not None]
        found = best(scores, table[0]["objective"])
        winner = table[found.number]["experiment_id"] if found is not None else None
    columns = ("experiment_id", "name", "model_id", "state", "metric", "objective", "search_strategy", "trial_counts")
    return {
        "parameters": parameters,
        "experiments": [
            {name: item[name] for name in columns}
            | {
                "planned_trials": item["planned_trials"],
                "elapsed_seconds": item["elapsed_seconds"],
                "best_trial": item["best_trial"],
                "best_value": item["best_value"],
                "best_parameters": {name: (item["best_parameters"] or {}).get(name) for name in parameters},
            }
            for item in table
        ],
        "best": winner,
    }


def _trial(trial: Any) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "job_id": trial.job_id,
        "state": trial.state,
        "parameters": json_of(trial.parameters),
        "value": trial.value,
        "metrics": json_of(trial.metrics) if trial.metrics else {},
        "epoch": trial.epoch,
        "artifact": trial.artifact,
        "manifest_digest": trial.manifest_digest,
        "error": trial.error,
        "detail": trial.detail,
        "started_at": _time(trial.started_at),
        "ended_at": _time(trial.ended_at),
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
