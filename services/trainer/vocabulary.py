"""The names that a training job may use, checked without TensorFlow, before a job is taken."""

from schemas.jobs import TrainingJob
from services.kernel.errors import InvalidInput
from services.trainer import architectures

OPTIMIZERS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "adamax": "Adamax",
    "nadam": "Nadam",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "lion": "Lion",
}
"""Optimizer name -> class in `keras.optimizers`."""

LOSSES = {
    "categorical_crossentropy": "categorical_crossentropy",
    "sparse_categorical_crossentropy": "categorical_crossentropy",
    "categorical_focal_crossentropy": "categorical_focal_crossentropy",
    "binary_crossentropy": "binary_crossentropy",
    "kl_divergence": "kl_divergence",
    "categorical_hinge": "categorical_hinge",
}
"""Loss name -> Keras loss over one-hot labels; the sparse name means the same loss, since we encode the labels."""

METRICS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "f1Score", "f1score": "f1Score"}
"""Metric name, lower case and without underscores -> its name in results. All are computed for every job."""

MONITORS = ("loss", "accuracy", "val_loss", "val_accuracy", "val_precision", "val_recall", "val_f1Score")
"""What early stopping may watch: epoch figures, `val_` ones on the validation rows."""

TECHNIQUES = ("noise", "rotation")


def check_job(job: TrainingJob) -> None:
    """Raise `InvalidInput` naming the field whose value no trainer knows."""
    network, config = job.network, job.training_config
    architectures.check(network.architecture)
    _known(network.optimizer.type, OPTIMIZERS, "modelConfig.optimizer.type")
    _known(network.loss, LOSSES, "modelConfig.loss")
    for metric in network.metrics:
        _known(metric.replace("_", ""), METRICS, "modelConfig.metrics")
    if config.early_stopping.enabled:
        _known(monitor_name(config.early_stopping.monitor), MONITORS, "trainingConfig.earlyStopping.monitor")
    for technique in job.dataset_config.augmentation.techniques:
        _known(technique, TECHNIQUES, "datasetConfig.augmentation.techniques")


def monitor_name(monitor: str) -> str:
    """The epoch figure that `monitor` means; `val_f1` and `val_f1_score` are `val_f1Score`."""
    return "val_f1Score" if monitor.replace("_", "").lower() in ("valf1", "valf1score") else monitor


def _known(name: str, names: object, field: str) -> None:
    known = list(names)  # type: ignore[call-overload]
    if name not in known and name.lower() not in known:
        raise InvalidInput(f"{field}: {name!r} is not known; there are {', '.join(known)}", field=field)
