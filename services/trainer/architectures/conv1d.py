"""One-dimensional convolutions over the encoded row."""

import keras
from keras import layers

from schemas.jobs import ModelConfig

DEFAULT_LAYERS = (32, 64)
KERNEL = 3


def build(width: int, classes: int, config: ModelConfig) -> keras.Model:
    """Filters `config.layers`, by default 32 and 64; between two layers the sequence is halved by its maxima."""
    inputs = keras.Input((width,))
    hidden = layers.Reshape((width, 1))(inputs)
    length = width
    for place, filters in enumerate(config.layers or DEFAULT_LAYERS):
        if place and length >= 2:
            hidden = layers.MaxPooling1D(2)(hidden)
            length //= 2
        hidden = layers.Conv1D(filters, KERNEL, padding="same", activation="relu")(hidden)
    hidden = layers.Flatten()(hidden)
    if config.dropout:
        hidden = layers.Dropout(config.dropout)(hidden)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(hidden))
