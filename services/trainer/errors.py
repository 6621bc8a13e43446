"""Errors of training, under the project's one root.

TrimtabError
├── TrainingFailed    the network could not be fitted (diverged, nothing to learn from)
└── ExportFailed      the exported graph can't be loaded or does not agree with the network
"""

from services.kernel.errors import Failed


class TrainingFailed(Failed):
    """The network could not be fitted."""

    code = "training-failed"


class ExportFailed(Failed):
    """The ONNX graph is not the network that was trained."""

    code = "export-failed"
