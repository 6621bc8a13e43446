"""A constant answer in the form of a model's outputs. Pure."""

import numpy as np

from schemas.features import DType, Output, OutputRole, Signature
from schemas.serving_options import Constant
from services.serving.columns import numpy_dtype
from services.serving.runtime import Array


def constant_outputs(signature: Signature, constant: Constant, rows: int) -> list[Array] | None:
    """One array `[rows, *shape]` an output, as a runtime would give them; None when `constant` does not say them all.

    Probabilities that it leaves open are 1 for its class and 0 for the others. Its class must be one of the
    signature's, and the most probable one; a value must be a number.
    """
    classes = signature.classes
    if classes is None:
        known = not isinstance(constant.prediction, str) and len(signature.outputs) == 1
    else:
        given = constant.probabilities
        known = constant.prediction in classes and (
            given is None or (set(given) <= set(classes) and max(given, key=given.__getitem__) == constant.prediction)
        )
    if not known:
        return None
    outputs = [_output(output, constant, classes, rows) for output in signature.outputs]
    return None if any(output is None for output in outputs) else [o for o in outputs if o is not None]


def _output(output: Output, constant: Constant, classes: tuple[str, ...] | None, rows: int) -> Array | None:
    shape = (rows, *output.shape)
    if classes is None:
        if output.role is not OutputRole.VALUE or output.dtype is DType.STRING:
            return None
        return np.full(shape, float(constant.prediction), dtype=output.dtype.value)
    label = str(constant.prediction)
    if output.role is OutputRole.PROBABILITIES and output.shape == (len(classes),) and output.dtype.is_float:
        given = {label: 1.0} if constant.probabilities is None else constant.probabilities
        return np.tile(np.array([given.get(name, 0.0) for name in classes], dtype=output.dtype.value), (rows, 1))
    if output.role is OutputRole.LABEL:
        value: str | int = label
        if output.dtype is not DType.STRING:  # a number is read as a class by that name, else by that place
            value = int(label) if label.isdecimal() else classes.index(label)
        return np.full(shape, value, dtype=numpy_dtype(output.dtype))
    return None
