"""Fitting a Keras network, an epoch report at a time. Imported by the child process only."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow
from numpy.typing import NDArray

from schemas.jobs import Optimizer, TrainingJob
from services.trainer import architectures
from services.trainer.encoding import Matrix
from services.trainer.errors import TrainingFailed
from services.trainer.evaluation import classification_metrics
from services.trainer.graph import OPSET
from services.trainer.vocabulary import LOSSES, OPTIMIZERS, monitor_name
from services.trainer.workspace import EpochReport

PREDICT_ROWS = 4096


@dataclass
class Fitted:
    """The network with its best weights, the history, and which epoch was best."""

    network: Any
    history: list[EpochReport] = field(default_factory=list)
    best_epoch: int = 0


def limit_threads(threads: int) -> None:
    """Let TensorFlow compute on this many threads; 0: all processors. Before the first tensor."""
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 2)
    tensorflow.config.experimental.enable_op_determinism()


def fit(
    job: TrainingJob,
    training: tuple[Matrix, NDArray[np.int64]],
    validation: tuple[Matrix, NDArray[np.int64]],
    classes: int,
    report: Callable[[EpochReport], None],
) -> Fitted:
    """Train `job`'s network. Deterministic for a seed, a machine and a number of threads.

    Inputs are encoded rows `[rows, width]` and class indices `[rows]`. Raises `TrainingFailed` when the loss is no
    longer a number.
    """
    config = job.training_config
    keras.utils.set_random_seed(config.seed)
    network = architectures.build(job.network, training[0].shape[1], classes)
    network.compile(
        optimizer=optimizer(job.network.optimizer),
        loss=LOSSES[job.network.loss.lower()],
        metrics=["accuracy"],
        jit_compile=False,
        steps_per_execution=max(1, min(32, len(training[0]) // config.batch_size)),
    )
    watcher = _Watcher(job, validation, classes, report)
    network.fit(
        training[0],
        _one_hot(training[1], classes),
        epochs=config.epochs,
        batch_size=config.batch_size,
        verbose=0,
        callbacks=[watcher],
    )
    if watcher.best_weights is not None:
        network.set_weights(watcher.best_weights)
    return Fitted(network, watcher.history, watcher.best_epoch)


def optimizer(config: Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer; with `decay` its rate is learning_rate / (1 + decay * step)."""
    rate: Any = config.learning_rate
    if config.decay:
        rate = keras.optimizers.schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=config.decay)
    return getattr(keras.optimizers, OPTIMIZERS[config.type.lower()])(learning_rate=rate)


def predict(network: keras.Model, encoded: Matrix) -> Matrix:
    """`[rows, classes]` float32 probabilities."""
    parts = [
        np.asarray(network.predict_on_batch(encoded[start : start + PREDICT_ROWS]), dtype=np.float32)
        for start in range(0, len(encoded), PREDICT_ROWS)
    ]
    return np.concatenate(parts)


def export(network: keras.Model, folder: Path) -> onnx.ModelProto:
    """The network as ONNX, through a file in `folder` that is removed again."""
    path = folder / "network.onnx"
    network.export(path, format="onnx", verbose=False, opset_version=OPSET)
    exported = onnx.load(path)
    path.unlink()
    return exported


def _one_hot(labels: NDArray[np.int64], classes: int) -> Matrix:
    known = labels >= 0
    encoded = np.zeros((len(labels), classes), dtype=np.float32)
    encoded[np.flatnonzero(known), labels[known]] = 1.0
    return encoded


class _Watcher(keras.callbacks.Callback):  # type: ignore[misc]
    """Judges each epoch on the validation rows, keeps the best weights, stops in time."""

    def __init__(
        self,
        job: TrainingJob,
        validation: tuple[Matrix, NDArray[np.int64]],
        classes: int,
        report: Callable[[EpochReport], None],
    ) -> None:
        super().__init__()
        self.history: list[EpochReport] = []
        self.best_epoch = 0
        self.best_weights: list[Any] | None = None
        self._epochs = job.training_config.epochs
        self._rows, self._labels = validation
        self._targets = _one_hot(self._labels, classes)
        self._loss = keras.losses.get(LOSSES[job.network.loss.lower()])
        self._report = report
        stopping = job.training_config.early_stopping
        self._stopping = stopping.enabled
        self._patience = stopping.patience
        self._monitor = monitor_name(stopping.monitor) if stopping.enabled else "val_loss"
        mode = stopping.mode if stopping.mode != "auto" else ("min" if self._monitor.endswith("loss") else "max")
        self._sign = 1.0 if mode == "min" else -1.0
        self._best = np.inf
        self._started = time.monotonic()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items()}
        answered = predict(self.model, self._rows)
        figures["val_loss"] = float(np.mean(self._loss(self._targets, answered)))
        figures |= {f"val_{name}": value for name, value in classification_metrics(answered, self._labels).items()}
        if not all(np.isfinite(value) for value in figures.values()):
            raise TrainingFailed(
                f"the loss is no longer a number in epoch {epoch + 1}; a lower learning rate than "
                "modelConfig.optimizer.learningRate is the usual remedy"
            )
        self._judge(epoch + 1, self._sign * figures[self._monitor])
        done = epoch + 1
        eta = (time.monotonic() - self._started) / done * (self._epochs - done)
        self.history.append(EpochReport(epoch=done, epochs=self._epochs, metrics=figures, eta_seconds=eta))
        self._report(self.history[-1])

    def _judge(self, number: int, value: float) -> None:
        if not self._stopping:
            self.best_epoch = number
        elif value < self._best:
            self._best, self.best_epoch = value, number
            self.best_weights = self.model.get_weights()
        elif number - self.best_epoch >= self._patience:
            self.model.stop_training = True
