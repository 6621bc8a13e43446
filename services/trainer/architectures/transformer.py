"""A small transformer encoder over the encoded row.

Vaswani et al. 2017, with one number a step: each step is projected to the model's width and gets a learnt embedding
of its place. ReLU, since an exact GELU exports an invalid graph.
"""

import keras
from keras import layers

from schemas.jobs import ModelConfig

DEFAULT_LAYERS = (32,)
HEADS = 2


def build(width: int, classes: int, config: ModelConfig) -> keras.Model:
    """The model's width is the first of `config.layers`; each of them is one encoder block, twice as wide inside."""
    widths = config.layers or DEFAULT_LAYERS
    size = widths[0]
    inputs = keras.Input((width,))
    hidden = layers.Dense(size)(layers.Reshape((width, 1))(inputs))
    hidden = Place(width, size)(hidden)
    for units in widths:
        attended = layers.MultiHeadAttention(HEADS, max(size // HEADS, 1), dropout=config.dropout)(hidden, hidden)
        hidden = layers.LayerNormalization()(layers.Add()([hidden, attended]))
        inner = layers.Dense(size)(layers.Dense(2 * units, activation="relu")(hidden))
        hidden = layers.LayerNormalization()(layers.Add()([hidden, inner]))
    hidden = layers.GlobalAveragePooling1D()(hidden)
    if config.dropout:
        hidden = layers.Dropout(config.dropout)(hidden)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(hidden))


class Place(layers.Layer):  # type: ignore[misc]
    """Adds a learnt vector to every step."""

    def __init__(self, length: int, size: int) -> None:
        super().__init__()
        self.length = length
        self.size = size
        self.places = self.add_weight(shape=(length, size), initializer="uniform", name="places")

    def call(self, steps: keras.KerasTensor) -> keras.KerasTensor:
        """`[batch, length, size]` plus the places."""
        return steps + self.places
