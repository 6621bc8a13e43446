"""What is wanted, what is there, what has to go. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from schemas.events import DeploymentWanted, LoadedVersion, Route
from schemas.features import DType, Feature, Signature
from schemas.serving_options import ServingOptions


@dataclass(frozen=True)
class SmallerGraph:
    """The graph that answers in place of the version's own: a blob of `size` bytes with the digest `sha256`."""

    kind: Literal["int8", "fp16"]
    sha256: str
    size: int


@dataclass(frozen=True)
class VersionRef:
    """One version by everything that makes it what it is: with other threads or another graph it is loaded anew."""

    model_id: str
    version: str
    artifact: str
    manifest_digest: str
    intra_op_threads: int | None = None
    memory_arena: bool | None = None
    graph: SmallerGraph | None = None


@dataclass(frozen=True)
class VersionState:
    """How a replica stands to one wanted version."""

    state: Literal["loading", "ready", "failed"]
    since: datetime
    detail: str = ""


@dataclass(frozen=True)
class Resident:
    """A model in memory, as the eviction sees it. `used_at` only has to order.

    `idle`: nothing is asked of it. `held`: it may not go now, whatever is over. `pinned`: it goes only for the bytes'
    sake, when no other may.
    """

    model_id: str
    used_at: float
    memory_bytes: int
    idle: bool = True
    held: bool = False
    pinned: bool = False


def identity_of(ref: VersionRef) -> str:
    """A text that tells the version, as it is run, from every other one."""
    return "\0".join(f"{name}={value}" for name, value in sorted(asdict(ref).items()))


def ref_of(model_id: str, route: Route, options: ServingOptions) -> VersionRef:
    """The version that `route` leads to, by its graph, run as the deployment's `options` have it."""
    smaller = route.quantized
    return VersionRef(
        model_id,
        route.version,
        route.artifact,
        route.manifest_digest,
        options.intra_op_threads,
        options.memory_arena,
        SmallerGraph(smaller.kind, smaller.sha256, smaller.size) if smaller is not None else None,
    )


def refs_of(wanted: DeploymentWanted) -> list[VersionRef]:
    """Every version that `wanted` needs in memory, each once."""
    routes = [*wanted.routes, *(route for route in (wanted.shadow, wanted.fallback) if route is not None)]
    return list(dict.fromkeys(ref_of(wanted.model_id, route, wanted.options) for route in routes))


def servable(wanted: DeploymentWanted, loaded: Collection[VersionRef]) -> DeploymentWanted | None:
    """`wanted` without the routes whose versions are not loaded; None when no route with traffic is left."""

    def there(route: Route | None) -> bool:
        return route is not None and ref_of(wanted.model_id, route, wanted.options) in loaded

    routes = tuple(route for route in wanted.routes if there(route))
    if not any(route.weight > 0 for route in routes):
        return None
    return wanted.model_copy(
        update={
            "routes": routes,
            "shadow": wanted.shadow if there(wanted.shadow) else None,
            "fallback": wanted.fallback if there(wanted.fallback) else None,
        }
    )


def evictions(residents: Iterable[Resident], *, max_models: int, max_bytes: int) -> list[str]:
    """The models to unload until count and bytes are within their bounds, or nothing more may go.

    Idle ones first, then ones in use, pinned ones last and for the bytes alone; each time the least recently used
    first. The most recently used one stays, however large.
    """
    ordered = sorted(residents, key=lambda resident: resident.used_at)
    count, total = len(ordered), sum(resident.memory_bytes for resident in ordered)
    chosen = []
    for resident in sorted(ordered[:-1], key=lambda resident: (resident.pinned, not resident.idle)):
        if total > max_bytes or (count > max_models and not resident.pinned):
            if resident.held:
                continue
            chosen.append(resident.model_id)
            count -= 1
            total -= resident.memory_bytes
    return chosen


def sample_row(signature: Signature) -> tuple[object, ...]:
    """A row that fits `signature`: the middle of each range, the first category, or the value for a missing one."""
    return tuple(_sample(feature) for feature in signature.inputs)


def status_of(
    ref: VersionRef, state: VersionState, requests: int, errors: int, memory_bytes: int | None = None
) -> LoadedVersion:
    """One line of a replica's report."""
    return LoadedVersion(
        model_id=ref.model_id,
        version=ref.version,
        state=state.state,
        detail=state.detail,
        since=state.since,
        requests=requests,
        errors=errors,
        memory_bytes=memory_bytes,
        quantized=ref.graph.kind if ref.graph is not None else None,
    )


def _sample(feature: Feature) -> object:
    value = _sample_value(feature)
    if feature.shape == ():
        return value
    kind: Any = object if feature.dtype is DType.STRING else feature.dtype.value
    return np.full(feature.shape, value, dtype=kind)


def _sample_value(feature: Feature) -> object:
    if feature.dtype is DType.STRING:
        return feature.categories[0] if feature.categories else str(feature.filler or "")
    if feature.dtype is DType.BOOL:
        return bool(feature.filler)
    low = feature.minimum if feature.minimum is not None else feature.maximum
    high = feature.maximum if feature.maximum is not None else feature.minimum
    middle = 0.0 if low is None or high is None else low + (high - low) / 2
    return middle if feature.dtype.is_float else int(middle)
