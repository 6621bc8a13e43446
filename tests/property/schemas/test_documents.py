"""Signatures, jobs and experiments: whatever is valid survives JSON; whatever is not is refused by pydantic alone."""

import json

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.jobs import (
    Augmentation,
    DatasetConfig,
    EarlyStopping,
    Experiment,
    FitConfig,
    ModelConfig,
    Optimizer,
    SearchDimension,
    SearchStrategy,
    TrainingJob,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
finite = st.floats(allow_nan=False, allow_infinity=False)


def fillers(dtype: DType) -> st.SearchStrategy[str | int | float | bool]:
    """Values that can stand for a missing one."""
    if dtype is DType.STRING:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    return st.booleans() if dtype is DType.BOOL else st.integers(0, 127)


@st.composite
def features(draw: st.DrawFn) -> Feature:
    dtype = draw(st.sampled_from(list(DType)))
    return Feature(
        name=draw(texts),
        dtype=dtype,
        shape=tuple(draw(st.lists(st.integers(1, 64), max_size=3))),
        nullable=draw(st.booleans()),
        filler=draw(fillers(dtype)),
        minimum=draw(st.none() | finite),
        maximum=draw(st.none() | finite),
        categories=draw(st.none() | st.lists(texts, max_size=3).map(tuple)),
    )


signatures = st.builds(
    Signature,
    inputs=st.lists(features(), min_size=1, max_size=5, unique_by=lambda feature: feature.name).map(tuple),
    outputs=st.just((Output(name="p", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),)),
    classes=st.none() | st.just(("a", "b")),
)
jobs = st.builds(
    TrainingJob,
    model_type=names,
    model_id=st.none() | names,
    dataset_config=st.builds(
        DatasetConfig,
        train_path=texts,
        validation_path=st.none() | texts,
        additional_paths=st.lists(texts, max_size=2).map(tuple),
        label_map=st.none() | st.dictionaries(texts, texts, max_size=3),
        validation_fraction=st.floats(0.01, 0.99),
        augmentation=st.builds(Augmentation, enabled=st.booleans(), techniques=st.lists(texts, max_size=2).map(tuple)),
    ),
    network=st.builds(
        ModelConfig,
        architecture=texts,
        layers=st.none() | st.lists(st.integers(1, 65_536), max_size=4).map(tuple),
        dropout=st.floats(0, 0.99),
        optimizer=st.builds(Optimizer, learning_rate=st.floats(1e-9, 10), decay=st.floats(0, 1)),
    ),
    training_config=st.builds(
        FitConfig,
        epochs=st.integers(1, 100_000),
        batch_size=st.integers(1, 2**20),
        early_stopping=st.builds(EarlyStopping, enabled=st.booleans(), patience=st.integers(1, 99)),
        seed=st.integers(0, 2**32 - 1),
    ),
    tags=st.dictionaries(texts, texts, max_size=2),
)
dimensions = st.one_of(
    st.builds(
        lambda low, width, kind: SearchDimension(type=kind, low=low, high=low + width),
        st.floats(1e-6, 1e3),
        st.floats(0.1, 1e3),
        st.sampled_from(["float", "int", "log_uniform"]),
    ),
    st.builds(
        lambda choices: SearchDimension(type="categorical", choices=tuple(choices)),
        st.lists(st.integers() | finite | texts | st.booleans(), min_size=1, max_size=4),
    ),
)
experiments = st.builds(
    Experiment,
    name=names,
    objective=st.sampled_from(["maximize", "minimize"]),
    search_space=st.dictionaries(texts, dimensions, min_size=1, max_size=4),
    search_strategy=st.sampled_from(list(SearchStrategy)),
    max_trials=st.integers(1, 10_000),
    parallel_trials=st.integers(1, 256),
    base_job=st.none() | jobs,
)


@given(signatures)
def test_a_signature_survives(signature: Signature) -> None:
    again = Signature.model_validate_json(signature.model_dump_json())
    assert again == signature
    assert again.digest() == signature.digest()
    assert all(feature.size >= 1 for feature in again.inputs)


@given(jobs)
def test_a_job_survives(job: TrainingJob) -> None:
    assert TrainingJob.model_validate_json(job.model_dump_json(by_alias=True)) == job
    assert job.model in (job.model_id, job.model_type)


@given(experiments)
def test_an_experiment_survives(experiment: Experiment) -> None:
    assert Experiment.model_validate_json(experiment.model_dump_json(by_alias=True)) == experiment


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["modelType", "dataset_config", "modelConfig", "trainingConfig", "holdout", "name", "searchSpace"]
)


@given(st.dictionaries(fields, anything))
def test_anything_else_is_refused(document: dict[str, object]) -> None:
    for kind in (TrainingJob, Experiment, Signature):
        try:
            read = kind.model_validate_json(json.dumps(document))
        except ValidationError:
            continue
        assert isinstance(read, kind)
