"""Long short-term memory over the encoded row."""

import keras
from keras import layers

from schemas.jobs import ModelConfig
from services.trainer.architectures.recurrent import stack


def build(width: int, classes: int, config: ModelConfig) -> keras.Model:
    """Units `config.layers`, by default one layer of 32."""
    return stack(width, classes, config, lambda units, sequences: layers.LSTM(units, return_sequences=sequences))
