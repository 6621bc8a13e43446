"""Class labels as the platform writes them: strings."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.conversion.errors import NotConvertible


def class_name(label: Any) -> str:
    """`label` as the monitor compares it with a class.

    >>> class_name(3.0), class_name(2), class_name("a"), class_name(True)
    ('3', '2', 'a', 'True')
    """
    plain = label.item() if isinstance(label, np.generic) else label
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def chosen_classes(own: Iterable[Any], given: Sequence[Any] | None) -> tuple[str, ...]:
    """The classes' names: `given` ones, else the model's own. Raises `NotConvertible` unless they fit."""
    names = tuple(class_name(label) for label in own)
    if given is not None:
        renamed = tuple(class_name(label) for label in given)
        if len(renamed) != len(names):
            raise NotConvertible(
                f"classes names {len(renamed)} classes and the model has {len(names)} ({', '.join(names[:10])}): name "
                "them in the model's order"
            )
        names = renamed
    if len(set(names)) < len(names):
        raise NotConvertible(f"two classes have the same name: {', '.join(names[:10])}")
    return names


def class_codes(labels: Iterable[Any], classes: Sequence[str]) -> NDArray[np.int64]:
    """The place of each label among the classes. Raises `NotConvertible` that names foreign labels."""
    places = {name: place for place, name in enumerate(classes)}
    named = [class_name(label) for label in labels]
    foreign = sorted(set(named) - places.keys())
    if foreign:
        raise NotConvertible(
            f"the labels {', '.join(map(repr, foreign[:5]))} are none of the classes {', '.join(classes[:10])}"
        )
    return np.array([places[name] for name in named], dtype=np.int64)
