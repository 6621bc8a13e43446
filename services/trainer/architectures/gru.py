"""Gated recurrent units over the encoded row."""

import keras
from keras import layers

from schemas.jobs import ModelConfig
from services.trainer.architectures.recurrent import stack


def build(width: int, classes: int, config: ModelConfig) -> keras.Model:
    """Units `config.layers`, by default one layer of 32. The reset gate acts before the product (Cho et al. 2014)."""
    return stack(
        width,
        classes,
        config,
        lambda units, sequences: layers.GRU(units, return_sequences=sequences, reset_after=False),
    )
