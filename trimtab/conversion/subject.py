"""What every family of models offers the conversion: what it is, what it answers, and graphs that may say the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.features import DType
from trimtab.conversion.sample import Sample


@dataclass(frozen=True)
class Answers:
    """What a model or its graph says to `rows` rows.

    A classifier fills `codes` `[rows]` (places in the classes), and `probabilities` `[rows, classes]` where it has
    them; a regression model fills `values` `[rows]`.
    """

    codes: NDArray[np.int64] | None = None
    probabilities: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Slot:
    """One input of a converter's graph and the raw features that go into it, cast to `dtype`, side by side."""

    features: tuple[str, ...]
    dtype: DType


@dataclass(frozen=True)
class Outputs:
    """Which outputs of a converter's graph mean what.

    `sigmoid`: the probabilities are one column, that of the second class. `label_keys`: what the label output says for
    each class, in their order.
    """

    probabilities: str | None = None
    label: str | None = None
    value: str | None = None
    sigmoid: bool = False
    label_keys: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A converter's graph before it takes raw features: `slots` are in the order of its inputs.

    `filler` stands for a missing string in it. A `wide` one computes in float64 and takes float64 features as they are;
    any other takes them in float32, which serving packs into one array.
    """

    graph: Any
    slots: tuple[Slot, ...]
    outputs: Outputs
    filler: str = ""
    wide: bool = False


@dataclass(frozen=True)
class About:
    """What the metadata of a version says about its origin."""

    framework: str
    framework_version: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


class Subject(Protocol):
    """A fitted model of one library."""

    about: About
    classes: tuple[str, ...] | None
    """Their names; None: a regression model."""
    own_classes: tuple[str, ...] | None
    """What the model itself calls them, where `classes` renames them."""
    feature_names: Sequence[str] | None
    """What the model itself calls its columns."""

    def answers(self, sample: Sample) -> Answers:
        """What the model's own predict says. Raises `NotConvertible` when it does not take the sample."""
        ...

    def drafts(self, sample: Sample) -> Iterator[Draft]:
        """Graphs to try, the likeliest first. Raises `NotConvertible` when the converter refuses."""
        ...
