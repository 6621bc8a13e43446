"""What a model's output tensors mean: label, probabilities or value."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.features import OutputRole, Signature
from services.serving.runtime import Array, RuntimeFailed

_highest = np.maximum.reduce  # NaN, where there is one


@dataclass(slots=True)
class Meaning:
    """The outputs of a batch, read by the signature. Classification fills `codes` (index into the classes) and, where
    the model gives them, `probabilities [rows, classes]`; regression fills `values`."""

    codes: NDArray[np.int16] | None = None
    probabilities: NDArray[np.float32] | None = None
    values: NDArray[np.float64] | None = None

    def require_class(self) -> None:
        """Raise `RuntimeFailed` for probabilities with NaN: what class would be the likeliest is no answer then."""
        if self.probabilities is not None and np.isnan(_highest(self.probabilities, axis=None)):
            raise RuntimeFailed("the model answered NaN for the probability of a class")

    def take(self, keep: "slice | NDArray[np.bool_]") -> "Meaning":
        """The rows that `keep` selects."""
        return Meaning(
            None if self.codes is None else self.codes[keep],
            None if self.probabilities is None else self.probabilities[keep],
            None if self.values is None else self.values[keep],
        )


class OutputReader:
    """Reads the outputs of one signature. The label is the class of the highest probability where there are any."""

    def __init__(self, signature: Signature) -> None:
        self.classes = signature.classes
        roles = {output.role: i for i, output in reversed(list(enumerate(signature.outputs)))}
        self._probabilities = roles.get(OutputRole.PROBABILITIES)
        self._label = roles.get(OutputRole.LABEL)
        self._value = roles.get(OutputRole.VALUE, 0)
        self._code_of = {name: code for code, name in enumerate(signature.classes or ())}

    @property
    def has_probabilities(self) -> bool:
        """Whether `read` fills `probabilities`."""
        return self.classes is not None and self._probabilities is not None

    def read(self, outputs: list[Array]) -> Meaning:
        """The meaning of one batch's outputs. Raises `RuntimeFailed` when they do not fit the signature."""
        if self.classes is None:
            return Meaning(values=self._values(outputs[self._value]))
        if self._probabilities is not None:
            probabilities = outputs[self._probabilities].astype(np.float32, copy=False)
            if probabilities.ndim != 2 or probabilities.shape[1] != len(self.classes):
                shape = list(probabilities.shape)
                raise RuntimeFailed(f"the probabilities have shape {shape}, the model has {len(self.classes)} classes")
            return Meaning(probabilities.argmax(axis=1).astype(np.int16), probabilities)
        if self._label is None:
            raise RuntimeFailed("the signature has classes, but no output with the role probabilities or label")
        return Meaning(self._codes(outputs[self._label]))

    @staticmethod
    def _values(output: Array) -> NDArray[np.float64]:
        try:
            return output.reshape(output.shape[0], -1)[:, 0].astype(np.float64)
        except (ValueError, IndexError) as error:
            raise RuntimeFailed(f"the value output holds no numbers: {error}") from error

    def _codes(self, output: Array) -> NDArray[np.int16]:
        codes = []
        for label in output.reshape(output.shape[0], -1)[:, 0].tolist():
            code = self._code_of.get(str(label))
            if code is None and isinstance(label, int) and 0 <= label < len(self._code_of):
                code = label
            if code is None:
                raise RuntimeFailed(f"the model answered {str(label)[:100]!r}, which is none of its classes")
            codes.append(code)
        return np.array(codes, dtype=np.int16)
