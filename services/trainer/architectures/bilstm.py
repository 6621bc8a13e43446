"""Bidirectional long short-term memory over the encoded row."""

import keras
from keras import layers

from schemas.jobs import ModelConfig
from services.trainer.architectures.recurrent import stack


def build(width: int, classes: int, config: ModelConfig) -> keras.Model:
    """Units `config.layers` in each direction, by default one layer of 32."""
    return stack(
        width,
        classes,
        config,
        lambda units, sequences: layers.Bidirectional(layers.LSTM(units, return_sequences=sequences)),
    )
