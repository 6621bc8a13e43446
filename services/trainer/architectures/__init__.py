"""Networks by name: one file an architecture, each with `build(width, classes, config) -> keras.Model`.

Every network takes the encoded row `[batch, width]` and ends in a softmax over the classes. Sequence architectures see
the row as a sequence of `width` steps of one number. Keras is imported by the files, not here: the service checks a
job's names without TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

from schemas.jobs import ModelConfig
from services.kernel.errors import InvalidInput

if TYPE_CHECKING:
    import keras

ARCHITECTURES = ("mlp", "lstm", "bilstm", "gru", "conv1d", "transformer")


def check(name: str) -> None:
    """Raise `InvalidInput` listing the known names when `name` is none of them."""
    if name not in ARCHITECTURES:
        raise InvalidInput(
            f"modelConfig.architecture: {name!r} is not known; there are {', '.join(ARCHITECTURES)}",
            field="modelConfig.architecture",
        )


def build(config: ModelConfig, width: int, classes: int) -> "keras.Model":
    """The network that `config` asks for, not compiled."""
    check(config.architecture)
    module = importlib.import_module(f"services.trainer.architectures.{config.architecture}")
    return module.build(width, classes, config)
