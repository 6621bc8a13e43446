"""The text that the registry writes about a trained version: every difference, and nothing that is none."""

import json
import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.manifest import Lineage, Manifest, ManifestFile, content_digest
from services.registry.governance.changes import MOST_ITEMS, changes_between

values = st.dictionaries(st.sampled_from("abcdefghij"), st.one_of(st.none(), st.integers(), st.text(max_size=5)))
measures = st.dictionaries(st.sampled_from("uvwxyz"), st.floats(allow_nan=True))


def record(seed: int = 0, inputs: tuple[str, ...] = ("duration",), **changes: Any) -> Manifest:
    files = (ManifestFile(path="model.onnx", size=1, sha256=f"{seed:064d}", is_model=True),)
    output = Output(name="p", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES)
    signature = Signature(
        inputs=tuple(Feature(name=name, dtype=DType.FLOAT32) for name in inputs), outputs=(output,), classes=("a", "b")
    )
    given: dict[str, Any] = {
        "model_id": "m",
        "framework": "keras",
        "files": files,
        "content_digest": content_digest(files),
        "signature": signature,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Manifest(**{**given, **changes})


def shown(values: dict[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "unset"


def test_everything_that_differs_is_told() -> None:
    before = record(
        metrics={"accuracy": 0.9, "loss": 0.2, "lost": math.nan},
        hyperparameters={"learning_rate": 0.01, "epochs": 3, "dropout": 0.1},
        lineage=Lineage(dataset_digest="1" * 64),
    )
    after = record(
        1,
        ("duration", "bytes"),
        framework="onnx",
        metrics={"accuracy": 0.95, "loss": 0.2, "lost": 1.0},
        hyperparameters={"learning_rate": 0.001, "epochs": 3, "layers": [64, 32]},
        lineage=Lineage(dataset_digest="2" * 64, cycle_id="cycle-7", experiment_id="exp-1", trial=4),
    )
    assert changes_between(before, after, "1.0.0") == (
        "Against 1.0.0: retrained by the loop's cycle cycle-7; other data (111111111111 -> 222222222222); from the "
        "experiment exp-1, trial 4; framework keras -> onnx; new inputs bytes; hyper-parameters dropout 0.1 -> unset, "
        "layers unset -> [64, 32], learning_rate 0.01 -> 0.001; metrics accuracy 0.9 -> 0.95 (+0.05)."
    )


def test_nothing_but_the_files_differs() -> None:
    text = changes_between(record(0), record(1), "1.0.0")
    assert text == "Against 1.0.0: other model files; nothing else in the record differs."
    assert changes_between(record(0), record(0), "1.0.0") == "Against 1.0.0: the same model files."


@given(values, values, measures, measures)
def test_it_names_what_differs_and_only_that(
    before: dict[str, Any], after: dict[str, Any], measured: dict[str, float], remeasured: dict[str, float]
) -> None:
    text = changes_between(
        record(0, hyperparameters=before, metrics=measured),
        record(1, hyperparameters=after, metrics=remeasured),
        "1.0.0",
    )
    expected = [
        f"{name} {shown(before, name)} -> {shown(after, name)}"
        for name in sorted(before.keys() | after.keys())
        if name not in before or name not in after or before[name] != after[name]
    ]
    assert (f"hyper-parameters {', '.join(expected)}" in text) if expected else ("hyper-parameters" not in text)
    if before == after and measured == remeasured:
        assert "nothing else" in text


def test_a_long_list_is_cut_and_counted() -> None:
    many = {f"p{number:02d}": number for number in range(MOST_ITEMS + 5)}
    text = changes_between(record(0), record(1, hyperparameters=many), "1.0.0")
    assert "and 5 more" in text
    assert f"p{MOST_ITEMS:02d}" not in text
