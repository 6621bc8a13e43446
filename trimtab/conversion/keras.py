"""Keras 3 models, functional and sequential, by their own export."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.features import DType
from trimtab.conversion.class_names import chosen_classes
from trimtab.conversion.errors import NotConvertible
from trimtab.conversion.libraries import REFUSALS, need, plain_parameters, quiet, refused
from trimtab.conversion.sample import Sample
from trimtab.conversion.subject import About, Answers, Draft, Outputs, Slot

KERAS_OPSET = 18
BATCH_ROWS = 1024


class KerasModel:
    """A Keras model with one output: softmax over classes, one sigmoid, or one number."""

    def __init__(self, model: Any, classes: Sequence[Any] | None) -> None:
        self._keras = need("keras")
        self._model = model
        inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
        if not inputs or not outputs:
            raise NotConvertible(
                "only functional and sequential Keras models with a known input are converted: begin the Sequential "
                "with keras.Input(shape), or export the model to ONNX and register the file"
            )
        if len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise NotConvertible("the Keras model must have one output, [batch, classes] or [batch, 1]")
        self._inputs = [str(tensor.name) for tensor in inputs]
        self._widths = [tuple(tensor.shape[1:]) for tensor in inputs]
        if any(size is None for shape in self._widths for size in shape):
            raise NotConvertible("only the batch axis of a Keras model's inputs may be free: fix the others")
        self.feature_names: Sequence[str] | None = self._inputs if len(self._inputs) > 1 else None
        width = int(outputs[0].shape[1])
        activation = _last_activation(outputs[0])
        own: Sequence[Any] | None = None
        self._sigmoid = activation == "sigmoid" and width == 1
        if self._sigmoid:
            own = range(2)
        elif activation == "softmax" and width > 1:
            own = range(width)
        elif width > 1 or classes is not None:
            raise NotConvertible(
                f"the Keras model ends in {activation!r} with {width} units, which are no probabilities: end it in a "
                "softmax over the classes, in one sigmoid unit, or, for a number, in one unit without `classes`"
            )
        self.own_classes = None if own is None else tuple(map(str, own))
        self.classes = None if own is None else chosen_classes(own, classes)
        optimizer = getattr(model, "optimizer", None)
        self.about = About(
            "keras",
            str(self._keras.__version__),
            plain_parameters(
                {
                    "parameters": model.count_params(),
                    "layers": len(model.layers),
                    "backend": self._keras.backend.backend(),
                    "optimizer": getattr(optimizer, "name", None),
                    "loss": model.loss if isinstance(getattr(model, "loss", None), str) else None,
                }
            ),
        )

    def answers(self, sample: Sample) -> Answers:
        """See `Subject.answers`."""
        lacking = [column.name for column in sample.columns if column.missing.any()]
        if lacking:
            raise NotConvertible(
                f"the sample lacks values of {', '.join(lacking[:5])}, and a Keras model has no word for that: impute "
                "them before the model"
            )
        with quiet(), _silent("tensorflow"):
            try:
                said = self._model.predict(self._fed(sample), batch_size=BATCH_ROWS, verbose=0)
            except REFUSALS as error:
                raise refused("the Keras model does not take the sample", error) from error
        answered = np.asarray(said, dtype=np.float64)
        if not np.isfinite(answered).all():
            raise NotConvertible("the Keras model answers NaN or infinity to rows of the sample")
        if self.classes is None:
            return Answers(values=answered.reshape(-1))
        if self._sigmoid:
            answered = np.concatenate([1 - answered, answered], axis=1)
        return Answers(codes=answered.argmax(axis=1), probabilities=answered)

    def drafts(self, sample: Sample) -> Iterator[Draft]:
        """See `Subject.drafts`."""
        onnx = need("onnx")
        with tempfile.TemporaryDirectory(prefix="trimtab-keras-") as folder, quiet(), _silent("tf2onnx"):
            path = Path(folder) / "model.onnx"
            try:
                self._model.export(path, format="onnx", verbose=False, opset_version=KERAS_OPSET)
                graph = onnx.load(path)
            except REFUSALS as error:
                raise refused("Keras can't export the model to ONNX", error) from error
        if any(node.op_type == "Erfc" for node in graph.graph.node):
            raise NotConvertible("exact GELU has no ONNX operator: use gelu with approximate=True, or relu")
        names = [value.name.partition(":")[0] for value in graph.graph.input]
        order = names if sorted(names) == sorted(self._inputs) else self._inputs
        slots = dict(zip(self._inputs, self._slots(sample), strict=True))
        answered = graph.graph.output[0].name
        outputs = (
            Outputs(value=answered) if self.classes is None else Outputs(probabilities=answered, sigmoid=self._sigmoid)
        )
        yield Draft(graph, tuple(slots[name] for name in order), outputs)

    def _slots(self, sample: Sample) -> list[Slot]:
        if len(self._inputs) == 1:
            return [Slot(sample.names, DType.FLOAT32)]
        return [Slot((name,), DType.FLOAT32) for name in self._inputs]

    def _fed(self, sample: Sample) -> Any:
        """The sample as the model's predict wants it."""
        texts = [column.name for column in sample.columns if column.dtype is DType.STRING]
        if texts:
            raise NotConvertible(
                f"{', '.join(texts[:5])} hold strings, and Keras exports no string inputs to ONNX: encode them before "
                "the model"
            )
        if len(self._inputs) == 1:
            return self._one(sample)
        fed: dict[str, NDArray[np.float32]] = {}
        for name, shape in zip(self._inputs, self._widths, strict=True):
            if name not in sample.names:
                raise NotConvertible(
                    f"the sample has no {name!r}: the Keras model's inputs are {', '.join(self._inputs)}"
                )
            fed[name] = sample.column(name).values.reshape(sample.rows, *shape).astype(np.float32)
        struct = getattr(self._model, "_inputs_struct", None)
        return fed if isinstance(struct, Mapping) else [fed[name] for name in self._inputs]

    def _one(self, sample: Sample) -> NDArray[np.float32]:
        (shape,) = self._widths
        if len(sample.columns) == 1:
            whole = sample.columns[0].values
        else:
            whole = np.stack([column.values for column in sample.columns], axis=1)
        if whole.reshape(sample.rows, -1).shape[1] != np.prod(shape):
            raise NotConvertible(
                f"the Keras model takes {list(shape)} a row and the sample has {list(whole.shape[1:])}"
            )
        return whole.reshape(sample.rows, *shape).astype(np.float32)


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Without what a library logs: it is told by exceptions and by the proof."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _last_activation(tensor: Any) -> str:
    """What the layer that made `tensor` ends in: an activation's name, `linear` for none."""
    layer = tensor._keras_history.operation
    if getattr(layer, "outputs", None) and hasattr(layer, "layers"):
        return _last_activation(layer.outputs[0])
    if type(layer).__name__ == "Softmax":
        return "softmax"
    return str(getattr(getattr(layer, "activation", None), "__name__", "linear"))
