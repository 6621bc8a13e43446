"""A batch that ran and is in the log, as its answers read it."""

from typing import Any

from schemas.predictions import prediction_id
from services.serving.outputs import Meaning
from services.serving.runtime import Array
from services.serving.sampling import Drawn
from services.serving.tensors import datatype_of


class Finished:
    """One batch that ran and is in the log. Lists are made once a batch and shared by its answers. `drawn` tells which
    rows are logged when not all are."""

    __slots__ = (
        "_described",
        "_ids",
        "_label_codes",
        "_outputs",
        "_probabilities",
        "first_sequence",
        "incarnation",
        "meaning",
        "outputs",
    )

    def __init__(
        self,
        outputs: list[Array],
        meaning: Meaning,
        incarnation: str,
        first_sequence: int,
        drawn: Drawn | None = None,
    ) -> None:
        self.outputs = outputs
        self.meaning = meaning
        self.incarnation = incarnation
        self.first_sequence = first_sequence
        self._ids = drawn.ids(incarnation) if drawn is not None else None
        self._outputs: list[list[list[Any]]] | None = None
        self._probabilities: list[list[float]] | None = None
        self._label_codes: list[int] | None = None
        self._described: list[tuple[tuple[int, ...], str]] | None = None

    def prediction_id(self, place: int) -> str:
        """The id of the prediction in row `place`."""
        if self._ids is not None:
            return self._ids[place]
        return prediction_id(self.incarnation, self.first_sequence + place)

    @property
    def output_rows(self) -> list[list[list[Any]]]:
        """Every output as a list with one flattened list a row."""
        if self._outputs is None:
            self._outputs = [output.reshape(output.shape[0], -1).tolist() for output in self.outputs]
        return self._outputs

    @property
    def described(self) -> list[tuple[tuple[int, ...], str]]:
        """Every output's shape without the batch axis, and its datatype in protocol V2."""
        if self._described is None:
            self._described = [(output.shape[1:], datatype_of(output.dtype)) for output in self.outputs]
        return self._described

    @property
    def label_codes(self) -> list[int]:
        """Index of the predicted class, by row."""
        if self._label_codes is None:
            assert self.meaning.codes is not None
            self._label_codes = self.meaning.codes.tolist()
        return self._label_codes

    @property
    def probabilities(self) -> list[list[float]] | None:
        """Probabilities by row and class, or None."""
        if self._probabilities is None and self.meaning.probabilities is not None:
            self._probabilities = self.meaning.probabilities.tolist()
        return self._probabilities
