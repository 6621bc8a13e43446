"""The training job and experiment documents as people write them; the requirements' examples are valid as they are."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from schemas.base import JsonValue, Name, StrictDocument, Version


class Augmentation(StrictDocument):
    """Training-data augmentation; techniques apply to numeric inputs of the training part only."""

    enabled: bool = False
    techniques: tuple[str, ...] = ()


class DatasetConfig(StrictDocument):
    """Where the rows are: files or folders (CSV, CSV.xz/.gz, JSON lines, Parquet), or `artifact:KEY` in the store.

    Without `validation_path` the job splits its own training rows (stratified by label) and says so.
    """

    train_path: str
    validation_path: str | None = None
    test_path: str | None = None
    additional_paths: tuple[str, ...] = ()
    label_column: str | None = None
    drop_columns: tuple[str, ...] = ()
    label_map: dict[str, str] | None = None
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    augmentation: Augmentation = Augmentation()


class Optimizer(StrictDocument):
    """`decay` is inverse-time decay: rate(step) = learning_rate / (1 + decay * step)."""

    type: str = "adam"
    learning_rate: float = Field(default=0.001, gt=0)
    decay: float = Field(default=0.0, ge=0)


class ModelConfig(StrictDocument):
    """The network. `layers` are the hidden widths; their default depends on the architecture."""

    architecture: str = "mlp"
    layers: tuple[Annotated[int, Field(ge=1, le=65536)], ...] | None = None
    dropout: float = Field(default=0.2, ge=0, lt=1)
    optimizer: Optimizer = Optimizer()
    loss: str = "categorical_crossentropy"
    metrics: tuple[str, ...] = ("accuracy",)


class EarlyStopping(StrictDocument):
    """Stop when `monitor` has not improved for `patience` epochs; the best epoch's weights are kept."""

    enabled: bool = True
    patience: int = Field(default=5, ge=1)
    monitor: str = "val_loss"
    mode: Literal["min", "max", "auto"] = "auto"


class FitConfig(StrictDocument):
    """How to fit (the requirements call this `trainingConfig`)."""

    epochs: int = Field(default=20, ge=1, le=100_000)
    batch_size: int = Field(default=128, ge=1, le=1_048_576)
    early_stopping: EarlyStopping = EarlyStopping()
    seed: int = Field(default=0, ge=0, lt=2**32)


class Holdout(StrictDocument):
    """Rows kept out of training to compare a challenger with a champion on data neither was trained on.

    The rows of `path` whose hashed `id_column` falls below `fraction` are held out; the rest join the training rows.
    """

    path: str
    fraction: float = Field(default=0.3, gt=0, lt=1)
    id_column: str = "prediction_id"
    champion_version: Version | None = None
    champion_artifact: str | None = None
    champion_manifest_digest: str | None = None


class TrainingJob(StrictDocument):
    """What `POST /mlops/train` takes. `model_id` defaults to `model_type`.

    The requirements' `modelConfig` is `network` here, since pydantic keeps the name `model_config` for itself.
    """

    model_type: Name
    model_id: Name | None = None
    model_name: str | None = None
    dataset_config: DatasetConfig
    network: ModelConfig = Field(
        default=ModelConfig(),
        validation_alias=AliasChoices("model_config", "modelConfig", "network"),
        serialization_alias="model_config",
    )
    training_config: FitConfig = FitConfig()
    holdout: Holdout | None = None
    description: str = ""
    changes: str = ""
    tags: dict[str, str] = {}

    @property
    def model(self) -> str:
        """The id of the model that this job makes a version of."""
        return self.model_id or self.model_type


class SearchStrategy(StrEnum):
    """How the tuner picks the next trial's parameters."""

    RANDOM = "random"
    GRID = "grid"
    BAYESIAN = "bayesian"
    HYPERBAND = "hyperband"


class SearchDimension(StrictDocument):
    """One searched parameter: a range (`float`, `int`, `log_uniform`) or a `categorical` choice."""

    type: Literal["float", "int", "log_uniform", "categorical"]
    low: float | None = None
    high: float | None = None
    choices: tuple[JsonValue, ...] | None = None

    @model_validator(mode="after")
    def _range_or_choices(self) -> Self:
        if self.type == "categorical":
            if not self.choices:
                raise ValueError("a categorical dimension needs `choices`")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"a {self.type} dimension needs `low` < `high`")
        elif self.type == "log_uniform" and self.low <= 0:
            raise ValueError("a log_uniform dimension needs `low` > 0")
        return self


class Experiment(StrictDocument):
    """What `POST /mlops/experiments` takes. Without `base_job` the model's last job is the base."""

    name: Name
    objective: Literal["maximize", "minimize"] = "maximize"
    metric: str = "accuracy"
    search_space: dict[str, SearchDimension] = Field(min_length=1)
    search_strategy: SearchStrategy = SearchStrategy.RANDOM
    max_trials: int = Field(default=10, ge=1, le=10_000)
    parallel_trials: int = Field(default=1, ge=1, le=256)
    model_id: Name | None = None
    base_job: TrainingJob | None = None
    hypothesis: str = ""
    seed: int = Field(default=0, ge=0, lt=2**32)
