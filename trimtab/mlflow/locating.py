"""Where a tracking server keeps the model that an MLflow URI names, and what it knows about it."""

from services.kernel.errors import InvalidInput, NotFound
from trimtab.mlflow.budget import Budget
from trimtab.mlflow.files import ModelFiles, ServedFiles, proxied_root, within
from trimtab.mlflow.record import Json, Origin, part
from trimtab.mlflow.source import MLMODEL, LoggedModel, RegisteredAlias, RegisteredVersion, RunArtifact
from trimtab.mlflow.tracking import Tracking

MAX_OUTPUTS = 100
"""Models of one run that are looked at."""

_LOGGED = "models:/m-"


def locate(
    tracking: Tracking, source: RegisteredVersion | RegisteredAlias | LoggedModel | RunArtifact, budget: Budget
) -> tuple[ModelFiles, Origin]:
    """The model's files and its origin. Raises `NotFound`, and `InvalidInput` when the server does not hand it out."""
    if isinstance(source, RunArtifact):
        return _of_run(tracking, source, budget)
    if isinstance(source, LoggedModel):
        model = tracking.logged_model(source.model_id)
        origin = Origin(f"models:/{source.model_id}", tracking.uri, None, model, _run_of(tracking, model))
        return _served(tracking, _location(model), budget), origin
    if isinstance(source, RegisteredAlias):
        version = tracking.alias(source.name, source.alias)
    else:
        version = tracking.version(source.name, source.version)
    name, number = str(version.get("name", "")), str(version.get("version", ""))
    if version.get("status", "READY") != "READY":
        raise InvalidInput(f"version {number} of {name} is not ready at {tracking.uri}: {version.get('status')}")
    logged = _logged_of(tracking, version)
    run = _run(tracking, version.get("run_id")) or (_run_of(tracking, logged) if logged else None)
    files = _served(tracking, tracking.download_uri(name, number), budget)
    return files, Origin(f"models:/{name}/{number}", tracking.uri, version, logged, run)


def origin_of_folder(tracking: Tracking, model_id: str | None, run_id: str | None) -> Origin:
    """What the server knows about a folder whose MLmodel file names a logged model and a run."""
    logged = tracking.logged_model(model_id) if model_id else None
    run = _run(tracking, run_id) or (_run_of(tracking, logged) if logged else None)
    return Origin(f"models:/{model_id}" if model_id else None, tracking.uri, None, logged, run)


def _run_of(tracking: Tracking, logged: Json) -> Json | None:
    """The run that logged a model, if it is still there."""
    return _run(tracking, part(logged, "info").get("source_run_id"))


def _of_run(tracking: Tracking, source: RunArtifact, budget: Budget) -> tuple[ModelFiles, Origin]:
    """An artifact of the run itself, as MLflow 2 logs models, else the model of this name that the run logged."""
    run, uri = tracking.run(source.run_id), f"runs:/{source.run_id}/{source.path}"
    location = _location(run)
    files = ServedFiles(tracking, within(proxied_root(location, tracking), source.path), budget)
    if MLMODEL in files.names():
        return files, Origin(uri, tracking.uri, None, None, run)
    outputs = part(run, "outputs").get("model_outputs")
    for output in outputs[:MAX_OUTPUTS] if isinstance(outputs, list) else []:
        model_id = output.get("model_id") if isinstance(output, dict) else None
        logged = tracking.logged_model(model_id) if isinstance(model_id, str) else {}
        if part(logged, "info").get("name") == source.path:
            return _served(tracking, _location(logged), budget), Origin(uri, tracking.uri, None, logged, run)
    raise NotFound(f"the run {source.run_id} has no model {source.path!r} at {tracking.uri}")


def _logged_of(tracking: Tracking, version: Json) -> Json | None:
    """The logged model that a registered version was made of, if it is still there."""
    source = str(version.get("source", ""))
    if not source.startswith(_LOGGED):
        return None
    try:
        return tracking.logged_model(source.removeprefix("models:/"))
    except NotFound:
        return None


def _run(tracking: Tracking, run_id: object) -> Json | None:
    if not isinstance(run_id, str) or not run_id:
        return None
    try:
        return tracking.run(run_id)
    except NotFound:
        return None


def _location(document: Json) -> str:
    """Where the files of a logged model or a run lie."""
    return str(part(document, "info").get("artifact_uri", ""))


def _served(tracking: Tracking, location: str, budget: Budget) -> ServedFiles:
    return ServedFiles(tracking, proxied_root(location, tracking), budget)
