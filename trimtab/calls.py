"""Every route as a value: what to send, for `Client` and `AsyncClient` alike. No I/O but reading files to upload.

Path parts are percent-encoded here, so an id can never become another route.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trimtab.errors import InvalidInput

Json = dict[str, Any]


@dataclass(frozen=True)
class Upload:
    """A version to register: (name in it, path) of its files, and what is said about it.

    `direct` sends the files straight to S3, where the registry keeps its artifacts there. `on_progress` is called with
    (bytes sent, bytes to send), by another thread in `AsyncClient`.
    """

    files: Sequence[tuple[str, Path]]
    metadata: Mapping[str, Any]
    direct: bool = False
    on_progress: Callable[[int, int], None] | None = None


@dataclass(frozen=True)
class Call:
    """One HTTP request, or, with `upload`, the several that register a version."""

    method: str
    path: str
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    upload: Upload | None = None
    timeout_seconds: float | None = None
    """For an answer that takes long; without it the client's own."""


QUANTIZE_SECONDS = 300.0
"""How long the answer to a deployment by a smaller graph may take: it is made and measured first."""


def get(path: str, **query: str | int | None) -> Call:
    """A GET with the `query` members that are given."""
    return Call("GET", path, query={name: str(value) for name, value in query.items() if value is not None})


def post(path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Call:
    """A POST of `body`, an empty object without one."""
    return Call("POST", path, body={} if body is None else body, headers=headers or {})


def part(text: str) -> str:
    """`text` as one part of a path. Raises `InvalidInput` for what is none."""
    if not text or text in (".", ".."):
        raise InvalidInput(f"{text!r} is not an id")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{text!r} is not an id: give text in UTF-8") from error


def given(**members: Any) -> Json:
    """The members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _finite(input: Mapping[str, Any]) -> Json:
    """`input`, all of which JSON can carry. Raises `InvalidInput` naming a feature that is NaN or infinite."""
    for name, value in input.items():
        if not _is_finite(value):
            raise InvalidInput(f"the feature {name!r} holds NaN or an infinity; for a missing value give None")
    return dict(input)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return all(map(_is_finite, value)) if isinstance(value, list | tuple) else True


def _only_if(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"If-Match": f'"{revision}"'}


# training ---------------------------------------------------------------------------------------------------------


def submit_job(job: Mapping[str, Any], idempotency_key: str | None = None) -> Call:
    """`POST /mlops/train`."""
    return post("/mlops/train", dict(job), {"Idempotency-Key": idempotency_key} if idempotency_key else None)


def jobs(model_id: str | None = None) -> Call:
    """`GET /mlops/train`."""
    return get("/mlops/train", model_id=model_id)


def job(job_id: str) -> Call:
    """`GET /mlops/train/{jobId}`."""
    return get(f"/mlops/train/{part(job_id)}")


def cancel_job(job_id: str) -> Call:
    """`DELETE /mlops/train/{jobId}`."""
    return Call("DELETE", f"/mlops/train/{part(job_id)}")


# registry ---------------------------------------------------------------------------------------------------------


def models() -> Call:
    """`GET /mlops/models`."""
    return get("/mlops/models")


def model(model_id: str) -> Call:
    """`GET /mlops/models/{id}`."""
    return get(f"/mlops/models/{part(model_id)}")


def version(model_id: str, version: str) -> Call:
    """`GET /mlops/models/{id}/{version}`."""
    return get(f"/mlops/models/{part(model_id)}/{part(version)}")


def manifest(model_id: str, version: str) -> Call:
    """`GET /mlops/models/{id}/{version}/manifest`."""
    return get(f"/mlops/models/{part(model_id)}/{part(version)}/manifest")


def history(model_id: str, version: str | None = None, at: datetime | None = None) -> Call:
    """`GET /mlops/models/{id}/history` or `GET /mlops/models/{id}/{version}/history`."""
    of = f"{part(model_id)}/{part(version)}" if version is not None else part(model_id)
    return get(f"/mlops/models/{of}/history", at=at.isoformat() if at else None)


def promote(model_id: str, version: str, stage: str, comment: str = "", changes: str | None = None) -> Call:
    """`POST /mlops/models/{id}/{version}/promote`."""
    body = given(stage=stage, comment=comment, changes=changes)
    return post(f"/mlops/models/{part(model_id)}/{part(version)}/promote", body)


def archive(model_id: str, version: str, comment: str = "") -> Call:
    """`POST /mlops/models/{id}/{version}/archive`."""
    return post(f"/mlops/models/{part(model_id)}/{part(version)}/archive", {"comment": comment})


def register_model(
    path: str | Path,
    metadata: Mapping[str, Any],
    *,
    direct: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Call:
    """Register the file at `path`, or every file of that folder, as a version that `metadata` tell about.

    Raises `InvalidInput` for a path that is not there or holds no file.
    """
    root = Path(path)
    if root.is_file():
        found = [(root.name, root)]
    elif root.is_dir():
        found = [(file.relative_to(root).as_posix(), file) for file in sorted(root.rglob("*")) if file.is_file()]
    else:
        raise InvalidInput(f"there is no file or folder {root}")
    if not found:
        raise InvalidInput(f"the folder {root} holds no file")
    return Call("POST", "/mlops/models", upload=Upload(found, dict(metadata), direct, on_progress))


# deployment -------------------------------------------------------------------------------------------------------


def deploy(
    model_id: str,
    version: str | None = None,
    *,
    canary: float | None = None,
    variants: Mapping[str, Any] | None = None,
    shadow: str | None = None,
    fallback: str | None = None,
    fallback_model: str | None = None,
    fallback_constant: Mapping[str, Any] | str | float | None = None,
    sticky_key: str | None = None,
    options: Mapping[str, Any] | None = None,
    quantize: str | None = None,
    quantize_max_loss: float | None = None,
    reason: str | None = None,
    expected_revision: int | None = None,
) -> Call:
    """`POST /mlops/deploy`. `canary` is the percentage of traffic that `version` gets."""
    body = given(
        model_id=model_id,
        version=version,
        canary=canary,
        variants=None if variants is None else {name: _variant(each) for name, each in variants.items()},
        shadow=shadow,
        fallback=fallback,
        fallback_model=fallback_model,
        fallback_constant=_constant(fallback_constant),
        sticky_key=sticky_key,
        options=None if options is None else dict(options),
        quantize=quantize,
        quantize_max_loss=quantize_max_loss,
        reason=reason,
    )
    slow = quantize is not None or variants is not None  # a variant may ask for a smaller graph too
    headers = _only_if(expected_revision) or {}
    return Call("POST", "/mlops/deploy", body=body, headers=headers, timeout_seconds=QUANTIZE_SECONDS if slow else None)


def set_deployment_options(model_id: str, options: Mapping[str, Any], expected_revision: int | None = None) -> Call:
    """`PUT /mlops/deployments/{id}/options`."""
    path = f"/mlops/deployments/{part(model_id)}/options"
    return Call("PUT", path, body=dict(options), headers=_only_if(expected_revision) or {})


def _variant(variant: Any) -> Json:
    """The document of a variant, which may be given as (version, percentage)."""
    if isinstance(variant, Mapping):
        return dict(variant)
    version, weight = variant
    return {"version": version, "weight": weight}


def _constant(constant: Mapping[str, Any] | str | float | None) -> Json | None:
    """The document of a constant answer, which may be given as the prediction alone."""
    if constant is None or isinstance(constant, Mapping):
        return None if constant is None else dict(constant)
    return {"prediction": constant}


def deployments() -> Call:
    """`GET /mlops/deployments`."""
    return get("/mlops/deployments")


def deployment(model_id: str) -> Call:
    """`GET /mlops/deployments/{id}`."""
    return get(f"/mlops/deployments/{part(model_id)}")


def rollback(model_id: str, reason: str = "") -> Call:
    """`POST /mlops/deployments/{id}/rollback`."""
    return post(f"/mlops/deployments/{part(model_id)}/rollback", {"reason": reason} if reason else {})


# prediction -------------------------------------------------------------------------------------------------------


def predict(model_id: str, input: Mapping[str, Any], version: str | None = None) -> Call:
    """`POST /mlops/predict`. Raises `InvalidInput` for a feature that is NaN."""
    return post("/mlops/predict", given(model_id=model_id, version=version, input=_finite(input)))


def predict_batch(model_id: str, inputs: Iterable[Mapping[str, Any]], version: str | None = None) -> Call:
    """`POST /mlops/predict/batch`. Raises `InvalidInput` for a feature that is NaN."""
    return post("/mlops/predict/batch", given(model_id=model_id, version=version, inputs=[_finite(i) for i in inputs]))


def explain(
    model_id: str,
    input: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    version: str | None = None,
    *,
    method: str | None = None,
    target: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
) -> Call:
    """`POST /mlops/explain`, for one row or a list of rows. Raises `InvalidInput` for a feature that is NaN."""
    rows = {"input": _finite(input)} if isinstance(input, Mapping) else {"inputs": [_finite(row) for row in input]}
    options = given(version=version, method=method, samples=samples, seed=seed, **{"class": target})
    return post("/mlops/explain", {"model_id": model_id, **rows, **options})


def importance(model_id: str, version: str | None = None, limit: int | None = None) -> Call:
    """`GET /mlops/models/{id}/importance`."""
    return get(f"/mlops/models/{part(model_id)}/importance", version=version, limit=limit)


def importance_trend(model_id: str, versions: int | None = None, limit: int | None = None) -> Call:
    """`GET /mlops/models/{id}/importance/trend`."""
    return get(f"/mlops/models/{part(model_id)}/importance/trend", versions=versions, limit=limit)


def served_model(model_id: str) -> Call:
    """`GET /v2/models/{id}`: the inputs and outputs of a deployed model, in the V2 protocol's terms."""
    return get(f"/v2/models/{part(model_id)}")


def send_labels(model_id: str, labels: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Call:
    """`POST /mlops/labels`: `{prediction_id: label}`, or documents with both."""
    if isinstance(labels, Mapping):
        rows = [{"prediction_id": prediction_id, "label": label} for prediction_id, label in labels.items()]
    else:
        rows = [dict(row) for row in labels]
    return post("/mlops/labels", {"model_id": model_id, "labels": rows})


# monitoring -------------------------------------------------------------------------------------------------------


def drift(model_id: str) -> Call:
    """`GET /mlops/models/{id}/drift`."""
    return get(f"/mlops/models/{part(model_id)}/drift")


def monitoring(model_id: str) -> Call:
    """`GET /mlops/models/{id}/monitoring`."""
    return get(f"/mlops/models/{part(model_id)}/monitoring")


def set_monitoring(model_id: str, config: Mapping[str, Any]) -> Call:
    """`PUT /mlops/models/{id}/monitoring`."""
    return Call("PUT", f"/mlops/models/{part(model_id)}/monitoring", body=dict(config))


def export_predictions(model_id: str, selection: Mapping[str, Any] | None = None) -> Call:
    """`POST /mlops/models/{id}/predictions/export`."""
    return post(f"/mlops/models/{part(model_id)}/predictions/export", dict(selection or {}))


# loop -------------------------------------------------------------------------------------------------------------


def loop_status(model_id: str | None = None) -> Call:
    """`GET /mlops/loop` or `GET /mlops/loop/{id}`."""
    return get("/mlops/loop" if model_id is None else f"/mlops/loop/{part(model_id)}")


def loop_action(model_id: str, action: str) -> Call:
    """`POST /mlops/loop/{id}/{pause|resume|run}`."""
    return post(f"/mlops/loop/{part(model_id)}/{part(action)}")


# experiments ------------------------------------------------------------------------------------------------------


def create_experiment(config: Mapping[str, Any]) -> Call:
    """`POST /mlops/experiments`."""
    return post("/mlops/experiments", dict(config))


def experiments() -> Call:
    """`GET /mlops/experiments`."""
    return get("/mlops/experiments")


def experiment(experiment_id: str) -> Call:
    """`GET /mlops/experiments/{id}`."""
    return get(f"/mlops/experiments/{part(experiment_id)}")


def stop_experiment(experiment_id: str) -> Call:
    """`DELETE /mlops/experiments/{id}`."""
    return Call("DELETE", f"/mlops/experiments/{part(experiment_id)}")


def compare(experiment_ids: Iterable[str]) -> Call:
    """`POST /mlops/experiments/compare`."""
    return post("/mlops/experiments/compare", {"experiment_ids": list(experiment_ids)})


# keys and the installation ----------------------------------------------------------------------------------------


def keys() -> Call:
    """`GET /mlops/keys`."""
    return get("/mlops/keys")


def create_key(name: str, scopes: Iterable[str], model_prefixes: Iterable[str] = ()) -> Call:
    """`POST /mlops/keys`."""
    return post("/mlops/keys", {"name": name, "scopes": list(scopes), "model_prefixes": list(model_prefixes)})


def revoke_key(key_id: str) -> Call:
    """`DELETE /mlops/keys/{id}`."""
    return Call("DELETE", f"/mlops/keys/{part(key_id)}")


def health() -> Call:
    """`GET /mlops/health`."""
    return get("/mlops/health")


def metrics() -> Call:
    """`GET /mlops/metrics`."""
    return get("/mlops/metrics")


def serving_config() -> Call:
    """`GET /mlops/serving`."""
    return get("/mlops/serving")


def set_serving_config(config: Mapping[str, Any]) -> Call:
    """`PUT /mlops/serving`."""
    return Call("PUT", "/mlops/serving", body=dict(config))


def events(topics: Iterable[str] = (), model_id: str | None = None, last_event_id: str | None = None) -> Call:
    """`GET /mlops/events`."""
    call = get("/mlops/events", topics=",".join(topics) or None, model_id=model_id)
    if last_event_id is None:
        return call
    return Call(call.method, call.path, query=call.query, headers={"Last-Event-ID": last_event_id})
