"""Global importance: the sums, the stored document, its computation in the background, the trend."""

import json
import os
import signal
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.kernel.storage import open_store
from services.serving.explain.explainer import Explainer
from services.serving.explain.importance import Importance, Plan, Sums, read_importance
from services.serving.explain.importances import Importances, plan_of
from services.serving.explain.refusals import NoBaselineSample
from services.serving.explain.trend import trend_of
from services.serving.explain.wire import Attributed
from services.serving.model import VersionRef
from services.serving.settings import ServingSettings
from tests.explain_versions import number_rows, publish
from tests.waiting import until

PLAN = Plan(rows=3, background_rows=2)


def importance(**features: float) -> Importance:
    sums = Sums()
    sums.add(Attributed(list(features), ["value"], 1, 2, "exact", [list(features.values())], [list(features.values())]))
    return sums.importance("ab" * 32, PLAN, 0.1)


@pytest.fixture
async def importances(explainer: Explainer, settings: ServingSettings) -> AsyncIterator[Importances]:
    """Importances over the explainer."""
    made = Importances(explainer, open_store(settings), plan_of(settings))
    yield made
    await made.stop()


async def computed(importances: Importances, ref: VersionRef) -> Importance:
    computing = importances.compute(ref)
    assert computing is not None
    await computing.ended.wait()
    found = await importances.find(ref)
    assert found is not None
    return found


def test_pieces_add_up_to_mean_and_standard_error() -> None:
    sums = Sums()
    sums.add(Attributed(["a", "b"], ["x", "y"], 3, 2, "exact", [[1.0, 5.0]], [[0.5, 2.0], [1.5, 8.0]]))
    progress = [(sums.rows, sums.total, sums.done)]
    sums.add(Attributed(["a", "b"], ["x", "y"], 3, 2, "permutation", [[2.0, 5.0], [3.0, 5.0]], [[1.0, 1.0], [0, 0]]))
    progress.append((sums.rows, sums.total, sums.done))
    assert progress == [(1, 3, False), (3, 3, True)]
    found = sums.importance("ab" * 32, PLAN, 0.1)
    assert found.algorithm == "mixed"
    assert [(one.feature, one.importance) for one in found.features] == [("b", 5.0), ("a", 2.0)]
    assert found.features[0].standard_error == 0
    assert found.features[1].standard_error == pytest.approx(1 / 3**0.5)
    assert found.features[1].by_class == pytest.approx({"x": 0.5, "y": 0.5})


def test_another_plan_or_version_is_another_key_and_another_document() -> None:
    other = PLAN.model_copy(update={"seed": 1})
    assert PLAN.key("ab" * 32) != other.key("ab" * 32)
    data = importance(a=1.0).model_dump_json().encode()
    assert read_importance(data, "ab" * 32, PLAN) == importance(a=1.0)
    assert read_importance(data, "cd" * 32, PLAN) is None
    assert read_importance(data, "ab" * 32, other) is None
    assert read_importance(data[:-5], "ab" * 32, PLAN) is None


def test_the_key_of_a_plan_stays_what_it_is() -> None:
    """Results that are stored must be found by the next release: raise FORMAT instead of changing this."""
    assert Plan(rows=200, background_rows=50).key("0" * 64) == f"importance/{'0' * 64}/shapley-a3aec4d6bcb5ea42.json"


def test_a_trend_has_a_value_for_each_version_and_null_where_a_feature_is_not() -> None:
    trends = trend_of([importance(a=1.0, old=9.0), importance(a=2.0, b=0.5), importance(a=1.5, b=3.0)])
    table = {trend.feature: (trend.importance, trend.change) for trend in trends}
    assert list(table) == ["old", "b", "a"]
    assert table == {
        "old": ([9.0, None, None], None),
        "b": ([None, 0.5, 3.0], 2.5),
        "a": ([1.0, 2.0, 1.5], -0.5),
    }
    assert trend_of([]) == []


async def test_importance_is_the_mean_of_the_closed_form(
    importances: Importances, explainer: Explainer, settings: ServingSettings
) -> None:
    """Of a sum of two numbers: |x - mean of the references|, over the drawn rows."""
    found = await computed(importances, publish(settings, "number"))
    rows = number_rows()
    drawn = np.sort(np.random.default_rng(0).choice(400, 40, replace=False))
    references = np.sort(np.random.default_rng(0).choice(400, 50, replace=False))
    for one in found.features:
        values = np.abs(rows[one.feature][drawn] - rows[one.feature][references].mean())
        assert one.importance == pytest.approx(values.mean(), abs=1e-5)
        assert one.standard_error == pytest.approx(values.std(ddof=1) / 40**0.5, abs=1e-5)
        assert one.by_class is None
    assert (found.rows, found.background_rows, found.algorithm) == (40, 50, "exact")


async def test_of_a_classifier_it_is_the_probability_that_moves(
    importances: Importances, settings: ServingSettings
) -> None:
    found = await computed(importances, publish(settings, "vector"))
    by_name = {one.feature: one for one in found.features}
    assert by_name["x[3]"].importance == pytest.approx(0, abs=1e-7)
    for one in found.features:
        assert one.by_class is not None
        assert sum(one.by_class.values()) / 2 == pytest.approx(one.importance)


async def test_what_one_replica_computed_every_other_finds(
    importances: Importances, explainer: Explainer, settings: ServingSettings
) -> None:
    ref = publish(settings, "number")
    found = await computed(importances, ref)
    other = Importances(explainer, open_store(settings), plan_of(settings))
    assert await other.find(ref) == found
    stored = json.loads(open_store(settings).get_bytes(importances.plan.key(ref.manifest_digest)))
    assert stored["manifest_digest"] == ref.manifest_digest


async def test_a_damaged_document_is_computed_again(importances: Importances, settings: ServingSettings) -> None:
    ref = publish(settings, "number")
    key = importances.plan.key(ref.manifest_digest)
    open_store(settings).put_bytes(key, b"{}")
    assert await importances.find(ref) is None
    found = await computed(importances, ref)
    assert read_importance(open_store(settings).get_bytes(key), ref.manifest_digest, importances.plan) == found


async def test_a_version_without_a_sample_fails_for_good(importances: Importances, settings: ServingSettings) -> None:
    ref = publish(settings, "number", sample=False)
    computing = importances.compute(ref)
    assert computing is not None
    await computing.ended.wait()
    assert isinstance(importances.failure(ref), NoBaselineSample)
    assert importances.compute(ref) is None


async def test_a_child_that_dies_costs_one_piece(
    importances: Importances, explainer: Explainer, settings: ServingSettings
) -> None:
    ref = publish(settings, "vector")
    await explainer.explain(ref, [[[1.0, 2.0, 3.0, 4.0]]])
    pid = explainer.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    computing = importances.compute(ref)
    assert computing is not None
    os.kill(pid, signal.SIGKILL)
    await until(computing.ended.is_set, 60, "the importance is there")
    assert (await importances.find(ref)) is not None
    assert explainer.process.starts == 2


async def test_many_versions_are_computed_one_after_another(
    importances: Importances, settings: ServingSettings
) -> None:
    refs = [publish(settings, "number", f"1.0.{n}") for n in range(4)]
    computing = [importances.compute(ref) for ref in refs]
    assert importances.compute(refs[0]) is computing[0]
    for one in computing:
        assert one is not None
        await one.ended.wait()
    features = [[f.feature for f in found.features] for found in [await importances.find(ref) for ref in refs] if found]
    assert len(features) == 4
