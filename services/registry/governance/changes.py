"""What is different between a version and its parent, in words, from the two records. Pure: no I/O."""

import json
import math
from collections.abc import Mapping
from typing import Any

from schemas.manifest import Manifest

MOST_ITEMS = 12
"""Metrics, and hyper-parameters, that are named; the others are counted."""


def changes_between(parent: Manifest, child: Manifest, parent_version: str) -> str:
    """A truthful text: data, hyper-parameters, inputs, framework and metrics that differ; never empty."""
    parts = [*_origin(parent, child), *_interface(parent, child)]
    parts += _values("hyper-parameters", parent.hyperparameters, child.hyperparameters)
    parts += _metrics(parent.metrics, child.metrics)
    if parent.content_digest == child.content_digest:
        parts.insert(0, "the same model files")
    what = "; ".join(parts) if parts else "other model files; nothing else in the record differs"
    return f"Against {parent_version}: {what}."


def _origin(parent: Manifest, child: Manifest) -> list[str]:
    found = []
    before, after = parent.lineage, child.lineage
    if after.cycle_id is not None:
        found.append(f"retrained by the loop's cycle {after.cycle_id}")
    if after.dataset_digest is not None:
        if before.dataset_digest == after.dataset_digest:
            found.append(f"the same data ({after.dataset_digest[:12]})")
        else:
            found.append(f"other data ({_short(before.dataset_digest)} -> {after.dataset_digest[:12]})")
    if before.experiment_id != after.experiment_id and after.experiment_id is not None:
        trial = "" if after.trial is None else f", trial {after.trial}"
        found.append(f"from the experiment {after.experiment_id}{trial}")
    return found


def _interface(parent: Manifest, child: Manifest) -> list[str]:
    found = []
    if parent.framework != child.framework:
        found.append(f"framework {parent.framework} -> {child.framework}")
    before = {feature.name for feature in parent.signature.inputs}
    after = {feature.name for feature in child.signature.inputs}
    if after - before:
        found.append(f"new inputs {_names(after - before)}")
    if before - after:
        found.append(f"without the inputs {_names(before - after)}")
    if parent.signature.classes != child.signature.classes:
        found.append("other classes")
    return found


def _values(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    both = before.keys() & after.keys()
    differing = [
        name for name in sorted(before.keys() | after.keys()) if name not in both or before[name] != after[name]
    ]
    if not differing:
        return []
    told = [f"{name} {_text(before, name)} -> {_text(after, name)}" for name in differing[:MOST_ITEMS]]
    return [f"{what} {', '.join(told)}{_more(len(differing))}"]


def _metrics(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    both = [
        name
        for name in sorted(before.keys() & after.keys())
        if math.isfinite(before[name]) and math.isfinite(after[name]) and before[name] != after[name]
    ]
    if not both:
        return []
    told = [
        f"{name} {before[name]:.4g} -> {after[name]:.4g} ({after[name] - before[name]:+.2g})"
        for name in both[:MOST_ITEMS]
    ]
    return [f"metrics {', '.join(told)}{_more(len(both))}"]


def _text(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "unset"
    text = json.dumps(values[name], sort_keys=True, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)[:MOST_ITEMS]) + _more(len(names))


def _more(number: int) -> str:
    return f" and {number - MOST_ITEMS} more" if number > MOST_ITEMS else ""


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:12]
