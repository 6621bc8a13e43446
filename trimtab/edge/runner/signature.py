"""A model's signature: which features it takes and what it returns.

Missing values, as everywhere in Trimtab: a feature that is `nullable` may be absent or null. Inside the graph a missing
number is NaN and a missing text the feature's `filler` (default: the empty string); a missing boolean or integer is its
`filler`.
"""

import math
from dataclasses import dataclass
from typing import Any

from .errors import IntegrityFailed

Scalar = str | int | float | bool

PROBABILITIES, LABEL, VALUE = "probabilities", "label", "value"

SUMMARY_BYTES = 4096
"""A tensor input with more bytes a row than this is logged as mean, standard deviation, minimum and maximum."""

INTEGER_RANGE: dict[str, tuple[int, int]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
FLOAT_MAX = {"float16": 65504.0, "float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}
_BYTES = {"bool": 1, **{name: int(name.lstrip("uint")) // 8 for name in INTEGER_RANGE}, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class Feature:
    """One input. `shape` excludes the batch axis: `()` is a scalar."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    nullable: bool = False
    filler: Scalar | None = None
    minimum: float | None = None
    maximum: float | None = None
    categories: frozenset[str] | None = None

    @property
    def is_float(self) -> bool:
        """Whether NaN exists in its type."""
        return self.dtype in FLOAT_MAX

    @property
    def is_text(self) -> bool:
        """Whether it holds strings."""
        return self.dtype == "string"

    @property
    def missing(self) -> Scalar:
        """What stands for a missing value in the graph."""
        if self.filler is not None:
            return self.filler
        return "" if self.is_text else math.nan

    @property
    def summarized(self) -> bool:
        """Whether the log holds four numbers in place of the tensor."""
        return not self.is_text and math.prod(self.shape) * _BYTES.get(self.dtype, 8) > SUMMARY_BYTES


@dataclass(frozen=True)
class Output:
    """One output tensor and what it means: `probabilities`, `label` or `value`."""

    name: str
    role: str


@dataclass(frozen=True)
class Signature:
    """A model's inputs and outputs. Without `classes` it is a regression."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Output, ...]
    classes: tuple[str, ...] | None


def read_signature(document: Any) -> Signature:
    """The signature in a manifest. Raises `IntegrityFailed`."""
    try:
        inputs = tuple(_feature(each) for each in document["inputs"])
        outputs = tuple(Output(str(each["name"]), str(each.get("role", VALUE))) for each in document["outputs"])
        classes = document.get("classes")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityFailed(f"the bundle's signature can't be read: {error!r}") from error
    return Signature(inputs, outputs, None if classes is None else tuple(classes))


def _feature(document: dict[str, Any]) -> Feature:
    dtype, categories = str(document["dtype"]), document.get("categories")
    if dtype not in INTEGER_RANGE and dtype not in FLOAT_MAX and dtype not in ("bool", "string"):
        raise ValueError(f"feature {document['name']!r} has the unknown type {dtype}")
    return Feature(
        name=str(document["name"]),
        dtype=dtype,
        shape=tuple(int(size) for size in document.get("shape", ())),
        nullable=bool(document.get("nullable", False)),
        filler=document.get("filler"),
        minimum=document.get("minimum"),
        maximum=document.get("maximum"),
        categories=None if categories is None else frozenset(categories),
    )
