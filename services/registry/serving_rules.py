"""What a deployment's options and its chain of fallbacks must keep of the signatures. Pure: no I/O, no framework."""

import math
from collections.abc import Collection, Iterable, Sequence

from schemas.features import Signature
from schemas.serving_options import Constant, ServingOptions
from services.registry.model import Malformed, RuleBroken, differing_inputs

Versioned = Sequence[tuple[str, Signature]]
"""(version, signature) of every version that may answer."""

SHOWN = 5
"""Names in one sentence."""


def check_options(options: ServingOptions, versions: Versioned, *, given: bool) -> None:
    """Raise unless every feature that `options` name is one of each version: `Malformed` when they are `given` now,
    `RuleBroken` when they stand from before and do not fit what is deployed now."""
    for version, signature in versions:
        names = {feature.name for feature in signature.inputs}
        odd = [name for name in options.log.redact if name not in names]
        if odd and given:
            raise Malformed(f"options.log.redact names {_listed(odd)}, which version {version} does not take")
        if odd:
            raise RuleBroken(
                f"the options of the model redact {_listed(odd)}, which version {version} does not take: "
                "give other `options` with it"
            )


def returning(present: ServingOptions, earlier: ServingOptions, takes: Collection[str]) -> ServingOptions:
    """The `present` options with what those of an `earlier` state hid of features that nothing deployed now takes: the
    present ones could not name them, and nobody has decided that they may be logged.

    >>> present = ServingOptions(log={"redact": {"c": "drop"}})
    >>> earlier = ServingOptions(log={"redact": {"a": "hash", "b": "hash"}})
    >>> returning(present, earlier, takes={"a", "c"}).log.redact
    {'b': 'hash', 'c': 'drop'}
    """
    hidden = {name: way for name, way in earlier.log.redact.items() if name not in takes}
    if not hidden:
        return present
    log = present.log.model_copy(update={"redact": hidden | present.log.redact})
    return present.model_copy(update={"log": log})


def check_constant(constant: Constant, versions: Versioned) -> None:
    """Raise `Malformed` unless `constant` is what each version could answer: a class, or a finite number."""
    for version, signature in versions:
        classes = signature.classes
        if classes is None:
            if isinstance(constant.prediction, str) or not math.isfinite(constant.prediction):
                raise Malformed(f"fallback_constant: version {version} answers with a number, so it must be a number")
            if constant.probabilities is not None:
                raise Malformed(f"fallback_constant: version {version} has no classes, so there are no probabilities")
            continue
        if not isinstance(constant.prediction, str):
            raise Malformed(
                f"fallback_constant: version {version} answers with a class, so it must be a text, in quotes, that is "
                f"one of them: {_listed(classes)}"
            )
        if constant.prediction not in classes:
            raise Malformed(
                f"fallback_constant: {constant.prediction[:64]!r} is none of the classes of version {version}: "
                f"{_listed(classes)}"
            )
        odd = [name for name in constant.probabilities or () if name not in classes]
        if odd:
            raise Malformed(f"fallback_constant: probabilities of {_listed(odd)}, no classes of version {version}")
    if any(not 0 <= share <= 1 for share in (constant.probabilities or {}).values()):
        raise Malformed("fallback_constant: a probability is between 0 and 1")


def check_fallback_model(model_id: str, fallback: str, signature: Signature, versions: Versioned) -> None:
    """Raise unless the model `fallback`, which answers by `signature`, takes the inputs of each version."""
    if fallback == model_id:
        raise Malformed("fallback_model: a model does not fall back to itself; `fallback` names another version of it")
    for version, mine in versions:
        odd = differing_inputs(mine, signature)
        if odd:
            raise RuleBroken(
                f"model {fallback} cannot stand in for version {version}: they differ in the inputs {_listed(odd)}"
            )


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(name[:64] for name in found[:SHOWN]) + more
