"""A version as the child sees it: elements, sample, outputs, refusals."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.features import DType, Feature, Output, Signature
from services.kernel.artifacts import load_version
from services.kernel.errors import IntegrityFailed, InvalidInput
from services.kernel.storage import open_store
from services.serving.explain.attributing import explain
from services.serving.explain.lime import Lime
from services.serving.explain.method import Method
from services.serving.explain.refusals import NoBaselineSample
from services.serving.explain.shapley import Shapley
from services.serving.explain.subject import Subject, elements_of, sample_of
from services.serving.explain.wire import Explained, ExplainJob, Version
from services.serving.runtime import RuntimeFailed
from services.serving.settings import ServingSettings
from tests.explain_versions import number_rows, publish, table_rows

Opened = Callable[..., Subject]


@pytest.fixture
def opened(settings: ServingSettings) -> Opened:
    """Publishes a version of a kind of model and opens it."""

    def open_(kind: str, sample: Any = True, max_features: int = 256) -> Subject:
        ref = publish(settings, kind, sample=sample)
        folder = load_version(open_store(settings), ref.artifact, settings.cache_dir, ref.manifest_digest)
        return Subject(Version(str(folder), ref.manifest_digest), max_features)

    return open_


def explained(
    subject: Subject,
    row: list[Any],
    method: Method | None = None,
    target: str | None = None,
    samples: int | None = None,
) -> Explained:
    job = ExplainJob(Version("", ""), [row], "", target, samples, 0, 100, 256, 5_000_000)
    return explain(subject, method or Shapley(), job).rows[0]


def contributions(found: Explained) -> dict[str, float]:
    return {one.feature: one.contribution for one in found.contributions}


def test_mixed_features_are_explained_as_they_are(opened: Opened) -> None:
    subject = opened("table")
    found = explained(subject, [0.5, "smtp", 2, float("nan")])
    assert found.additivity_error < 1e-6
    assert {(c.feature, c.value) for c in found.contributions} == {
        ("duration", 0.5),
        ("service", "smtp"),
        ("count", 2),
        ("src-bytes", None),
    }
    assert found.probabilities is not None
    assert found.output == found.probabilities[str(found.prediction)]
    sizes = [abs(one.contribution) for one in found.contributions]
    assert sizes == sorted(sizes, reverse=True)


def test_the_contributions_to_all_classes_cancel(opened: Opened) -> None:
    subject = opened("table")
    tables = [contributions(explained(subject, [0.5, "smtp", 2, 1.0], target=name)) for name in subject.output_names]
    for feature in tables[0]:
        assert sum(table[feature] for table in tables) == pytest.approx(0, abs=1e-6)


def test_a_number_has_the_closed_form_of_a_sum(opened: Opened) -> None:
    subject = opened("number")
    found = explained(subject, [3.0, -1.0])
    drawn = subject.drawn(100, 0)
    means = {name: float(column[drawn].mean()) for name, column in zip("ab", subject.sample, strict=True)}
    assert contributions(found) == pytest.approx({"a": 3 - means["a"], "b": -1 - means["b"]}, abs=1e-5)
    assert found.base_value == pytest.approx(means["a"] + means["b"], abs=1e-5)
    assert (found.prediction, found.target, found.probabilities) == (2.0, None, None)


def test_a_model_without_probabilities_is_explained_by_an_indicator(opened: Opened) -> None:
    subject = opened("labels")
    assert subject.kind == "indicator"
    found = explained(subject, [1.0, 5.0])
    assert (found.prediction, found.output) == ("high", 1.0)
    assert contributions(found)["b"] == 0
    assert found.base_value + contributions(found)["a"] == pytest.approx(1.0)
    assert explained(subject, [1.0, 5.0], target="low").output == 0.0


def test_a_tensor_is_explained_element_by_element(opened: Opened) -> None:
    found = explained(opened("vector"), [[1.0, 2.0, 3.0, 4.0]])
    assert set(contributions(found)) == {"x[0]", "x[1]", "x[2]", "x[3]"}
    assert contributions(found)["x[3]"] == pytest.approx(0, abs=1e-6)
    assert found.additivity_error < 1e-6


def test_too_many_elements_are_refused_with_the_setting(opened: Opened) -> None:
    with pytest.raises(InvalidInput, match="TRIMTAB_SERVING_EXPLAIN_FEATURES"):
        opened("vector", max_features=3)


def test_elements_of_a_matrix_carry_their_place() -> None:
    signature = Signature(
        inputs=(Feature(name="m", dtype=DType.FLOAT32, shape=(2, 2)), Feature(name="k", dtype=DType.INT64)),
        outputs=(Output(name="y", dtype=DType.FLOAT32),),
    )
    assert [element.name for element in elements_of(signature)] == ["m[0,0]", "m[0,1]", "m[1,0]", "m[1,1]", "k"]


def test_both_methods_agree_on_what_matters_most(opened: Opened) -> None:
    subject = opened("number")
    row = [4.0, 0.1]
    first = [explained(subject, row, method).contributions[0].feature for method in (Shapley(), Lime())]
    assert first == ["a", "a"]
    fidelity = explained(subject, row, Lime()).fidelity
    assert fidelity is not None
    assert 0 < fidelity <= 1


def test_without_a_baseline_sample_the_remedy_is_named(opened: Opened) -> None:
    with pytest.raises(NoBaselineSample, match="register it with a sample"):
        opened("number", sample=False)


def test_a_redacted_feature_is_named(opened: Opened) -> None:
    columns = table_rows()
    del columns["service"]
    with pytest.raises(NoBaselineSample, match="lacks the feature 'service'"):
        opened("table", sample=columns)


def test_a_sample_of_another_type_is_refused(opened: Opened) -> None:
    with pytest.raises(NoBaselineSample, match="no float32 in 'a'"):
        opened("number", sample={**number_rows(), "a": np.array(["x"] * 400)})


def test_rows_that_do_not_fit_the_signature_are_left_out() -> None:
    signature = Signature(
        inputs=(
            Feature(name="a", dtype=DType.FLOAT32),
            Feature(name="n", dtype=DType.INT64),
            Feature(name="s", dtype=DType.STRING, nullable=True, filler="none"),
        ),
        outputs=(Output(name="y", dtype=DType.FLOAT32),),
    )
    table = pa.table({"a": [1.0, None, 3.0, 4.0], "n": [1.0, 2.0, None, 4.0], "s": [None, "x", "y", "z"]})
    a, n, s = sample_of(table, signature)
    assert (a.tolist(), n.tolist(), s.tolist()) == ([1.0, 4.0], [1, 4], ["none", "z"])
    with pytest.raises(NoBaselineSample, match="no row that fits"):
        sample_of(table.slice(1, 1), signature)


def test_a_model_that_answers_nan_is_not_explained(opened: Opened) -> None:
    with pytest.raises(RuntimeFailed, match="NaN or infinity"):
        explained(opened("nan"), [1.0, 2.0])


def test_wrong_classes_and_too_few_samples_are_named(opened: Opened) -> None:
    subject = opened("table")
    row = [0.5, "smtp", 2, 1.0]
    with pytest.raises(InvalidInput, match="'virus' is none of 'normal', 'dos', 'probe'"):
        explained(subject, row, target="virus")
    with pytest.raises(InvalidInput, match="at least 9"):
        explained(subject, row, samples=8)
    with pytest.raises(InvalidInput, match="at least 6"):
        explained(subject, row, Lime(), samples=5)
    with pytest.raises(InvalidInput, match="a number, not a class"):
        explained(opened("number"), [1.0, 2.0], target="dos")


def test_a_damaged_copy_is_not_explained(settings: ServingSettings) -> None:
    ref = publish(settings, "number")
    folder = load_version(open_store(settings), ref.artifact, settings.cache_dir, ref.manifest_digest)
    damaged = Path(f"{folder}-damaged")
    shutil.copytree(folder, damaged)
    (damaged / "model.onnx").write_bytes(b"another model")
    with pytest.raises(IntegrityFailed):
        Subject(Version(str(damaged), ref.manifest_digest), 256)
    with pytest.raises(IntegrityFailed):
        Subject(Version(str(folder), "0" * 64), 256)
