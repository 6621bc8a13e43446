"""What MLflow knows about a model, as a version's metadata: metrics, parameters, tags, description, origin."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.registry.labels import MAX_METRICS, MAX_TAGS, MAX_TEXT
from services.registry.search.fields import MAX_NAME
from trimtab.mlflow.mlmodel import MLmodel

Json = dict[str, Any]

MAX_PARAMETERS = 1_000
"""Parameters that are taken over."""
MAX_VALUE = 5_000
"""Characters of a tag or of a parameter that is text."""

_INTERNAL = "mlflow."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Origin:
    """What a tracking server says about one model: the registered version, the logged model, the run; each if any.

    `source` is what the user named, `server` the tracking server.
    """

    source: str | None = None
    server: str | None = None
    version: Json | None = None
    logged: Json | None = None
    run: Json | None = None


def metadata_of(origin: Origin, mlmodel: MLmodel, flavour: str) -> Json:
    """`metadata` for `register_model`. What is not finite, over a limit or of another kind is left out."""
    version, logged, run = origin.version or {}, origin.logged or {}, origin.run or {}
    of_run, of_model = part(run, "data"), part(logged, "data")
    run_id = _text(part(run, "info").get("run_id")) or mlmodel.run_id
    lineage = {"job_id": run_id if run_id and _NAME.fullmatch(run_id) else None, "dataset_digest": _dataset(run)}
    parameters = _first_said(_pairs(of_model.get("params")), _pairs(of_run.get("params")))
    tags = _first_said(
        _about(origin, mlmodel, run_id),
        _own(version.get("tags")),
        _own(part(logged, "info").get("tags")),
        _own(of_run.get("tags")),
    )
    metadata = {
        "framework": flavour,
        "model_name": (_text(version.get("name")) or _text(part(logged, "info").get("name")) or "")[:200],
        "description": (_text(version.get("description")) or "")[:MAX_TEXT],
        "metrics": _first(_metrics(of_run.get("metrics"), of_model.get("metrics")), MAX_METRICS),
        "hyperparameters": _first({name: plain(text) for name, text in parameters.items()}, MAX_PARAMETERS),
        "tags": _first(tags, MAX_TAGS),
        "lineage": {name: value for name, value in lineage.items() if value},
    }
    return {name: value for name, value in metadata.items() if value}


def plain(text: str) -> int | float | bool | str | None:
    """The value whose Python text a parameter is: MLflow keeps every parameter as `str(value)`.

    >>> plain("3"), plain("0.1"), plain("True"), plain("None"), plain("007"), plain("adam")
    (3, 0.1, True, None, '007', 'adam')
    """
    if text in ("True", "False", "None"):
        return {"True": True, "False": False}.get(text)
    for kind in (int, float):
        try:
            value = kind(text) if len(text) < 30 else None
        except ValueError:
            continue
        if value is not None and str(value) == text and math.isfinite(value):
            return value
    return text


def part(document: Mapping[str, Any], name: str) -> Json:
    """The object called `name` in a server's answer; empty when it is none."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _about(origin: Origin, mlmodel: MLmodel, run_id: str | None) -> dict[str, str]:
    about = {
        "mlflow.source": origin.source,
        "mlflow.tracking_uri": origin.server,
        "mlflow.run_id": run_id,
        "mlflow.model_id": _text(part(origin.logged or {}, "info").get("model_id")) or mlmodel.model_id,
    }
    return {name: value[:MAX_VALUE] for name, value in about.items() if value}


def _metrics(of_run: Any, of_model: Any) -> dict[str, float]:
    """Those of the model, else of its run. MLflow 3 keeps the model's copy of a NaN as 0: there the run is believed."""
    run, model = _numbers(of_run), _numbers(of_model)
    unknown = {name for name, value in run.items() if not math.isfinite(value)}
    return {name: value for name, value in (model or run).items() if math.isfinite(value) and name not in unknown}


def _numbers(items: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in _items(items):
        if isinstance(value, str):  # "NaN" and "Infinity", which JSON does not have
            found[name] = math.nan
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def _pairs(items: Any) -> dict[str, str]:
    return {name: value[:MAX_VALUE] for name, value in _items(items) if isinstance(value, str) and "\0" not in value}


def _own(items: Any) -> dict[str, str]:
    """Tags that a person gave."""
    return {name: value for name, value in _pairs(items).items() if not name.startswith(_INTERNAL)}


def _items(items: Any) -> Iterable[tuple[str, Any]]:
    """The (key, value) pairs of MLflow's lists of objects whose keys can be names here."""
    for item in items if isinstance(items, list) else []:
        name = item.get("key") if isinstance(item, dict) else None
        if isinstance(name, str) and 0 < len(name.strip()) == len(name) <= MAX_NAME and "\0" not in name:
            yield name, item.get("value")


def _first_said(*parts: dict[str, str]) -> dict[str, str]:
    """All pairs; of those with one name the first."""
    said: dict[str, str] = {}
    for pairs in parts:
        said |= {name: text for name, text in pairs.items() if name not in said}
    return said


def _first(values: Json, count: int) -> Json:
    return dict(list(values.items())[:count])


def _dataset(run: Mapping[str, Any]) -> str | None:
    """The digest of the one dataset that the run names."""
    inputs = part(run, "inputs").get("dataset_inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        return None
    return _text(part(inputs[0], "dataset").get("digest"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and "\0" not in value else None
