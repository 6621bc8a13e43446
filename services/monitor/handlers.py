"""What the monitor does with events: it learns of versions, of routes and of labels."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from schemas.base import Message
from schemas.events import DeploymentWanted, LabelsObserved, ModelRegistered
from schemas.predictions import is_sampled_out_id, parse_prediction_id
from services.kernel.uow import UnitOfWork
from services.monitor import metrics, tables
from services.monitor.labels import label_text


def on_registered(message: ModelRegistered, uow: UnitOfWork) -> None:
    """A version exists: its predictions can be counted."""
    row = {
        "model_id": message.model_id,
        "version": message.version,
        "artifact": message.artifact,
        "manifest_digest": message.manifest_digest,
        "registered_at": uow.envelope.time.timestamp() if uow.envelope else time.time(),
    }
    tables.upsert(uow.connection, tables.versions, [row])


def on_deployment(message: DeploymentWanted, uow: UnitOfWork) -> None:
    """The version with most traffic is what a prediction without a version is counted for."""
    if message.routes:
        main = max(message.routes, key=lambda route: route.weight)
        row = {"model_id": message.model_id, "version": main.version}
        tables.upsert(uow.connection, tables.default_versions, [row])


def on_labels(message: LabelsObserved, uow: UnitOfWork) -> None:
    """Keep the labels until their predictions are found; a corrected label replaces the old one, joined or not. Those
    of predictions that were never logged are counted."""
    rows = {}
    left_out = 0
    for label in message.labels:
        if is_sampled_out_id(label.prediction_id):
            left_out += 1
            continue
        parsed = parse_prediction_id(label.prediction_id)
        rows[label.prediction_id] = {
            "model_id": message.model_id,
            "prediction_id": label.prediction_id,
            "label": label_text(label.label),
            "at": time.time(),
            "incarnation": parsed[0][:128] if parsed else None,
            "sequence": parsed[1] if parsed else None,
        }
    if rows:
        tables.put_labels(uow.connection, list(rows.values()))
    if left_out:
        metrics.LABELS_LEFT_OUT.labels(message.model_id).inc(left_out)
        tally = {
            "partition": tables.OF_LABELS,
            "model_id": message.model_id,
            "version": "",
            "labels_left_out": left_out,
        }
        tables.upsert(uow.connection, tables.tallies, [tally], adding=("labels_left_out",))


def handlers(wake_join: Callable[[], None]) -> Mapping[type[Message], Callable[[Any, UnitOfWork], None]]:
    """message type -> handler; `wake_join` is told of labels (before their transaction ends; it looks again)."""

    def labels(message: LabelsObserved, uow: UnitOfWork) -> None:
        on_labels(message, uow)
        wake_join()

    return {ModelRegistered: on_registered, DeploymentWanted: on_deployment, LabelsObserved: labels}
