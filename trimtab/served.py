"""What serves a model now, read from its deployment."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trimtab.errors import Forbidden, InvalidInput, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trimtab.client import Client

NAMED = 5
"""Foreign labels that an error names."""


def serving_version(client: "Client", model_id: str) -> str:
    """The version with the greatest share of the traffic. Raises `NotFound` when nothing is deployed."""
    nothing = f"nothing of {model_id} is deployed: name the version, {model_id}:VERSION"
    try:
        deployment = client.deployment(model_id)
    except NotFound as error:
        raise NotFound(f"{nothing} ({error.detail})") from error
    routes: list[Mapping[str, Any]] = deployment["routes"]
    if not routes:
        raise NotFound(nothing)
    return str(max(routes, key=lambda route: float(route["weight"]))["version"])


def classes_of(client: "Client", model_id: str) -> set[str] | None:
    """The classes of every version that has traffic; None where they can't be known or the model has none."""
    classes: set[str] = set()
    try:
        for route in client.deployment(model_id)["routes"]:
            found = client.version(model_id, route["version"])["signature"].get("classes")
            if found is None:
                return None
            classes.update(found)
    except (NotFound, Forbidden, Unavailable):
        return None
    return classes or None


def check_labels(labels: "Iterable[Any]", classes: set[str] | None, model_id: str, where: str) -> None:
    """Raise `InvalidInput` that names a few of the `labels` that are not among `classes`, and the classes.

    Without known classes all `labels` are only read, which may fail in its own way.
    """
    foreign: dict[str, None] = {}
    for label in labels:
        if classes is not None and (text := _text(label)) not in classes:
            foreign[repr(text)] = None
            if len(foreign) > NAMED:
                break
    if classes is not None and foreign:
        named = [*list(foreign)[:NAMED], *(["..."] if len(foreign) > NAMED else [])]
        raise InvalidInput(
            f"{where} holds labels that {model_id} does not know: {', '.join(named)};"
            f" its classes are {', '.join(sorted(classes))}. Nothing was sent"
        )


def _text(label: Any) -> str:
    """As the monitor compares it with a class: 3.0 is `3`."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
