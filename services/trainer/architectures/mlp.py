"""Multilayer perceptron: dense ReLU layers, dropout after each but the last."""

import keras
from keras import layers

from schemas.jobs import ModelConfig

DEFAULT_LAYERS = (128, 64)


def build(width: int, classes: int, config: ModelConfig) -> keras.Model:
    """Hidden widths `config.layers`, by default 128 and 64."""
    inputs = hidden = keras.Input((width,))
    widths = config.layers or DEFAULT_LAYERS
    for place, units in enumerate(widths):
        hidden = layers.Dense(units, activation="relu")(hidden)
        if config.dropout and (place < len(widths) - 1 or len(widths) == 1):
            hidden = layers.Dropout(config.dropout)(hidden)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(hidden))
