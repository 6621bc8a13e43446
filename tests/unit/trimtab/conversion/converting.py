"""Convert a model and ask the file that would be uploaded, as serving would."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from schemas.baseline import Baseline
from schemas.features import DType, OutputRole, Signature
from trimtab.conversion.version_folder import convert


@dataclass(frozen=True)
class Version:
    """What a folder held, and its graph loaded."""

    files: dict[str, bytes]
    metadata: dict[str, Any]
    folder: Path

    @property
    def signature(self) -> Signature:
        """As it is sent."""
        return Signature.model_validate(self.metadata["signature"])

    @property
    def baseline(self) -> Baseline:
        """As it is sent."""
        return Baseline.model_validate_json(self.files["baseline.json"])

    @cached_property
    def session(self) -> Any:
        """The graph in ONNX Runtime."""
        return onnxruntime.InferenceSession(self.files["model.onnx"], providers=["CPUExecutionProvider"])

    def ask(self, frame: Any) -> NDArray[Any]:
        """The graph's one output for the rows of a DataFrame, or of an array whose columns are in order."""
        fed = {}
        for place, feature in enumerate(self.signature.inputs):
            column = frame[feature.name] if hasattr(frame, "columns") else frame[:, place]
            values = np.asarray(column)
            if feature.dtype is DType.STRING:
                texts = [feature.missing if value is None or value != value else value for value in values.tolist()]
                values = np.array(texts, dtype=object)
            else:
                values = values.astype(feature.dtype.value)
            fed[feature.name] = values.reshape(len(frame), *(feature.shape or (1,)))
        (output,) = self.signature.outputs
        (answered,) = self.session.run([output.name], fed)
        return np.asarray(answered)

    def labels(self, frame: Any) -> list[str]:
        """The class that serving would answer with, by row."""
        answered = self.ask(frame)
        if self.signature.outputs[0].role is OutputRole.LABEL:
            return [str(label) for label in answered.tolist()]
        classes = self.signature.classes or ()
        return [classes[place] for place in answered.argmax(axis=1)]


def version_of(model: Any, sample: Any, **options: Any) -> Version:
    """Convert and read the folder, which is gone afterwards."""
    with convert(model, sample, **options) as (folder, metadata):
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert not folder.exists()
    return Version(files, metadata, folder)
