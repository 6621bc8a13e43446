"""A model's signature: which features it takes, what it returns, and the one rule for missing values.

Missing values. A feature that is `nullable` may be absent or null in a request. Inside the ONNX graph and in the
prediction log a missing number is NaN and a missing string is the feature's `filler` (default: the empty string); a
missing boolean or integer is its `filler`, so an integer or boolean is nullable only when it has one. In JSON a missing
value is null. A feature that is not nullable and is missing is an error that names it.
"""

import hashlib
import json
import math
from enum import StrEnum
from typing import Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Document


class DType(StrEnum):
    """Element types, named as in NumPy; `V2` gives the Open Inference Protocol's name."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"

    @property
    def v2(self) -> str:
        """The datatype's name in the Open Inference Protocol V2."""
        return _V2_SPECIAL.get(self) or self.value.upper()

    @property
    def is_float(self) -> bool:
        """Whether NaN exists in this type."""
        return self.value.startswith("float")

    def holds(self, value: str | int | float | bool) -> bool:
        """Whether `value` can be an element of this type, by kind and by range."""
        if self is DType.STRING:
            return isinstance(value, str)
        if isinstance(value, bool) or self is DType.BOOL:
            return isinstance(value, bool) and self is DType.BOOL
        if self.is_float or isinstance(value, str):
            return not isinstance(value, str)
        bits = int(self.value.lstrip("uint"))
        low, high = (0, 2**bits - 1) if self.value.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return isinstance(value, int) and low <= value <= high


_V2_SPECIAL = {
    DType.BOOL: "BOOL",
    DType.STRING: "BYTES",
    DType.FLOAT16: "FP16",
    DType.FLOAT32: "FP32",
    DType.FLOAT64: "FP64",
}


class Feature(Document):
    """One input. `shape` excludes the batch axis: `()` is a scalar, `(20,)` a vector of 20."""

    name: str = Field(min_length=1, max_length=256)
    dtype: DType
    shape: tuple[int, ...] = ()
    nullable: bool = False
    filler: str | int | float | bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None

    @field_validator("shape")
    @classmethod
    def _known_positive_sizes(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in shape):
            raise ValueError("sizes must be 1 or more; the batch axis is not part of the shape")
        return shape

    @model_validator(mode="after")
    def _nullable_has_a_filler(self) -> Self:
        if self.nullable and self.filler is None and not (self.dtype.is_float or self.dtype is DType.STRING):
            raise ValueError(f"feature {self.name!r}: a nullable {self.dtype.value} needs a filler")
        if self.filler is not None and not self.dtype.holds(self.filler):
            raise ValueError(f"feature {self.name!r}: the filler {self.filler!r} is no {self.dtype.value}")
        return self

    @property
    def missing(self) -> str | int | float | bool:
        """What stands for a missing value in the graph and in the log."""
        if self.filler is not None:
            return self.filler
        return "" if self.dtype is DType.STRING else math.nan

    @property
    def size(self) -> int:
        """Elements of one row of this feature."""
        return math.prod(self.shape)


class OutputRole(StrEnum):
    """What an output means to the platform."""

    PROBABILITIES = "probabilities"
    LABEL = "label"
    VALUE = "value"


class Output(Document):
    """One output tensor. `shape` excludes the batch axis."""

    name: str = Field(min_length=1, max_length=256)
    dtype: DType
    shape: tuple[int, ...] = ()
    role: OutputRole = OutputRole.VALUE


class Signature(Document):
    """Everything a caller, the log and the monitor need to know about a model's inputs and outputs."""

    inputs: tuple[Feature, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)
    classes: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (("input", [f.name for f in self.inputs]), ("output", [o.name for o in self.outputs])):
            repeated = {name for name in names if names.count(name) > 1}
            if repeated:
                raise ValueError(f"{kind} names appear twice: {', '.join(sorted(repeated))}")
        return self

    @property
    def is_tabular(self) -> bool:
        """Whether every input is a scalar, so that a request may be a flat object of named values."""
        return all(feature.shape == () for feature in self.inputs)

    def output(self, role: OutputRole) -> Output | None:
        """The first output with `role`, or None."""
        return next((output for output in self.outputs if output.role is role), None)

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON of this signature."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
