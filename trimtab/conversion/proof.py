"""The graph against the model it came from, in ONNX Runtime on the sample: no exception is no proof.

Probabilities may differ by `PROBABILITY_TOLERANCE`, numbers by `VALUE_TOLERANCE` of the larger of their own size and
the spread (standard deviation) of the model's answers. Labels must be equal, but where the model itself has two
classes within the tolerance of each other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.features import DType, OutputRole, Signature
from trimtab.conversion.class_names import class_codes
from trimtab.conversion.errors import Different, NotConvertible
from trimtab.conversion.sample import Sample
from trimtab.conversion.subject import Answers

PROBABILITY_TOLERANCE = 1e-4
VALUE_TOLERANCE = 1e-4


class ServedGraph:
    """A serialized graph in ONNX Runtime, fed as serving feeds it. Raises `NotConvertible` when it can't be loaded."""

    def __init__(self, model: bytes, signature: Signature) -> None:
        import onnxruntime

        self.signature = signature
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _runtime_errors() as error:
            raise NotConvertible(f"ONNX Runtime can't load the converted graph: {_line(error)}") from error

    def answers(self, sample: Sample) -> Answers:
        """What the graph says to the sample's rows. Raises `NotConvertible` when it fails on them."""
        (output,) = self.signature.outputs
        try:
            (answered,) = self._session.run([output.name], self._feeds(sample))
        except _runtime_errors() as error:
            raise NotConvertible(f"ONNX Runtime can't run the converted graph: {_line(error)}") from error
        if output.role is OutputRole.LABEL:
            return Answers(codes=class_codes(answered.tolist(), self.signature.classes or ()))
        if output.role is OutputRole.VALUE:
            return Answers(values=answered.reshape(-1).astype(np.float64))
        probabilities = answered.astype(np.float64)
        if probabilities.shape != (sample.rows, len(self.signature.classes or ())):
            raise Different(
                f"the converted graph answers {list(probabilities.shape)} probabilities to {sample.rows} rows of "
                f"{len(self.signature.classes or ())} classes"
            )
        return Answers(codes=probabilities.argmax(axis=1), probabilities=probabilities)

    def _feeds(self, sample: Sample) -> dict[str, NDArray[Any]]:
        fed: dict[str, NDArray[Any]] = {}
        for feature in self.signature.inputs:
            column = sample.column(feature.name)
            values = column.values
            if feature.dtype is DType.STRING:
                values = np.array([feature.missing if value is None else value for value in values], dtype=object)
            fed[feature.name] = values.reshape(sample.rows, *(feature.shape or (1,)))
        return fed


def compare(own: Answers, graph: Answers) -> float:
    """The largest difference between the model's `own` answers and the graph's: of probabilities, or of values in
    units of their tolerance's scale; 0 for labels alone. Raises `Different`.
    """
    if own.values is not None:
        assert graph.values is not None
        scale = np.maximum(np.abs(own.values), float(own.values.std()))
        gaps = np.abs(own.values - graph.values) / np.where(scale > 0, scale, 1.0)
        return _within(gaps, VALUE_TOLERANCE, own.values, graph.values)
    assert own.codes is not None
    assert graph.codes is not None
    clear = np.ones(len(own.codes), np.bool_)
    largest = 0.0
    if graph.probabilities is not None:
        assert own.probabilities is not None
        gaps = np.abs(own.probabilities - graph.probabilities).max(axis=1, initial=0.0)
        largest = _within(gaps, PROBABILITY_TOLERANCE, own.probabilities, graph.probabilities)
        clear = clear_winners(own.probabilities)
    wrong = np.flatnonzero((own.codes != graph.codes) & clear)
    if len(wrong):
        raise Different(
            f"the converted graph gives {len(wrong)} of {len(own.codes)} rows of the sample another label than the "
            f"model, row {wrong[0]} the first"
        )
    return largest


def clear_winners(probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`[rows]`: where the best class leads the second by more than twice the tolerance, so that both sides agree."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), np.bool_)
    best = np.sort(probabilities, axis=1)
    return np.asarray(best[:, -1] - best[:, -2] > 2 * PROBABILITY_TOLERANCE)


def _within(gaps: NDArray[Any], tolerance: float, own: NDArray[Any], graph: NDArray[Any]) -> float:
    wrong = np.flatnonzero(~(gaps <= tolerance))  # NaN is wrong too
    if len(wrong):
        row = int(wrong[0])
        raise Different(
            f"the converted graph differs from the model in {len(wrong)} of {len(gaps)} rows of the sample, by "
            f"{float(np.max(gaps)):.2g} where {tolerance:.0e} is allowed; row {row}: the model says "
            f"{np.round(own[row], 6).tolist()}, the graph {np.round(graph[row], 6).tolist()}"
        )
    return float(gaps.max(initial=0.0))


def _runtime_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
        "EPFail",
    )
    return tuple(getattr(state, name) for name in names)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
