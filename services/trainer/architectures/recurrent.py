"""What the recurrent architectures share: the row as a sequence, stacked recurrent layers, a softmax."""

from collections.abc import Callable

import keras
from keras import layers

from schemas.jobs import ModelConfig

DEFAULT_LAYERS = (32,)


def stack(
    width: int, classes: int, config: ModelConfig, layer: Callable[[int, bool], keras.layers.Layer]
) -> keras.Model:
    """`layer(units, return_sequences)` for each of `config.layers` over `[width, 1]`.

    The length is fixed and nothing is masked: that is what exports to ONNX's own recurrent operators.
    """
    inputs = keras.Input((width,))
    hidden = layers.Reshape((width, 1))(inputs)
    widths = config.layers or DEFAULT_LAYERS
    for place, units in enumerate(widths):
        hidden = layer(units, place < len(widths) - 1)(hidden)
    if config.dropout:
        hidden = layers.Dropout(config.dropout)(hidden)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(hidden))
