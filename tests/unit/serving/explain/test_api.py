"""`POST /mlops/explain` and the explanation beside a prediction, over a real child."""

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from schemas.events import DeploymentWanted, Route
from schemas.serving_options import Constant
from services.kernel.errors import Forbidden
from services.kernel.storage import open_store
from services.serving.asking import Asking
from services.serving.catalog import Catalog, Deployed
from services.serving.dataplane import DataPlane
from services.serving.exchange import Gate
from services.serving.explain.api import ExplainApi
from services.serving.explain.explainer import Explainer
from services.serving.explain.versions import VersionBook
from services.serving.loader import load
from services.serving.model import VersionRef
from services.serving.predict_api import PredictApi
from services.serving.predlog import LogBudget, ModelLog
from services.serving.router import RoutePlan
from services.serving.runtime.opening import RuntimeOptions
from services.serving.served import ServedVersion
from services.serving.settings import ServingSettings
from services.serving.v2 import ProtocolV2
from tests.explain_versions import publish
from tests.unit.serving.conftest import AsPut, nothing_else

ROW = {"duration": 0.5, "service": "smtp", "count": 2, "src-bytes": None}


async def nobody(service: str, path: str) -> httpx.Response | None:
    """No registry."""
    return None


def one_model(authorization: str | None, scope: str, model_id: str | None) -> None:
    """A key for predictions of anything but the model `secret`."""
    assert scope == "predict"
    if model_id == "secret":
        raise Forbidden("the key is bound to other models")


class Site:
    """A data plane whose models lie in a store."""

    def __init__(self, settings: ServingSettings, explainer: Explainer, executor: ThreadPoolExecutor) -> None:
        self.settings = settings
        self.executor = executor
        self.budget = LogBudget(1 << 24, "reject")
        self.catalog = Catalog()
        asking = Asking(self.catalog, self.budget)
        self.wanted: dict[str, DeploymentWanted] = {}
        self.logs: dict[str, ModelLog] = {}
        settings.log_dir.mkdir(parents=True)
        explain = ExplainApi(explainer, VersionBook(nobody, self.wanted.get), one_model)
        self.app = DataPlane(
            PredictApi(asking, one_model, explain=explain.beside),
            ProtocolV2(asking, one_model, AsPut(), server_name="trimtab", ready=lambda: True),
            explain.explain,
            Gate(settings),
            nothing_else,
        )

    def deploy(self, ref: VersionRef, constant: Constant | None = None) -> ServedVersion:
        """Serve a version as the pool would; with `constant` its graph is gone, and that answers in its place."""
        loaded = load(ref, open_store(self.settings), self.settings.cache_dir, RuntimeOptions(), warmup=False)
        log = self.logs[ref.model_id] = ModelLog(self.settings.log_dir, ref.model_id, "replica-1", self.budget)
        served = ServedVersion(ref.model_id, ref.version, loaded.signature, loaded.runtime, log, self.executor)
        served.ref = ref
        route = Route(
            name="main", version=ref.version, weight=100, artifact=ref.artifact, manifest_digest=ref.manifest_digest
        )
        wanted = DeploymentWanted(
            model_id=ref.model_id, revision=1, routes=(route,), fallback_constant=constant, since=datetime.now(UTC)
        )
        if constant is not None:
            loaded.runtime.close()
        self.wanted[ref.model_id] = wanted
        self.catalog.models[ref.model_id] = Deployed(RoutePlan(wanted), {ref.version: served})
        return served


@pytest.fixture
async def site(settings: ServingSettings, explainer: Explainer) -> AsyncIterator[Site]:
    """With `table`, `number` and `vector` deployed."""
    with ThreadPoolExecutor(1) as executor:
        made = Site(settings, explainer, executor)
        for kind in ("table", "number", "vector"):
            made.deploy(publish(settings, kind))
        yield made


async def ask(site: Site, document: Any, path: str = "/mlops/explain") -> tuple[int, dict[str, Any]]:
    """Status and answer."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    transport = httpx.ASGITransport(site.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3006") as client:
        answer = await client.post(path, content=content)
    return answer.status_code, answer.json()


async def test_one_row_is_explained(site: Site) -> None:
    status, answer = await ask(site, {"modelId": "table", "input": ROW})
    assert status == 200
    assert set(answer) == {
        *("model_id", "version", "prediction", "probabilities", "kind", "class", "base_value", "output"),
        *("contributions", "additivity_error", "fidelity", "method", "algorithm", "samples", "seed"),
        *("background_rows", "elapsed_ms", "quantized"),
    }
    total = answer["base_value"] + sum(one["contribution"] for one in answer["contributions"])
    assert total == pytest.approx(answer["output"], abs=1e-6)
    assert answer["output"] == answer["probabilities"][answer["class"]]
    assert {one["feature"]: one["value"] for one in answer["contributions"]} == ROW
    assert (answer["class"], answer["kind"], answer["version"]) == (answer["prediction"], "probability", "1.0.0")


async def test_the_prediction_is_the_one_that_is_served(site: Site) -> None:
    _, predicted = await ask(site, {"modelId": "table", "input": ROW}, "/mlops/predict")
    _, explained = await ask(site, {"modelId": "table", "input": ROW})
    assert explained["prediction"] == predicted["prediction"]
    assert explained["probabilities"] == predicted["probabilities"]


async def test_several_rows_with_lime_and_a_class(site: Site) -> None:
    request = {"model_id": "table", "inputs": [ROW, {**ROW, "count": 0}], "method": "lime", "class": "probe", "seed": 3}
    status, answer = await ask(site, request)
    assert status == 200
    assert [(one["class"], one["method"], one["seed"]) for one in answer["explanations"]] == [("probe", "lime", 3)] * 2
    assert all(0 < one["fidelity"] <= 1 for one in answer["explanations"])
    again = (await ask(site, request))[1]["explanations"]
    assert [one["contributions"] for one in again] == [one["contributions"] for one in answer["explanations"]]


async def test_a_prediction_carries_its_explanation(site: Site) -> None:
    status, answer = await ask(site, {"modelId": "table", "input": ROW, "explain": True}, "/mlops/predict")
    assert status == 200
    assert answer["explanation"]["prediction"] == answer["prediction"]
    assert answer["explanation"]["version"] == answer["version"]
    assert "explanation_error" not in answer
    _, lime = await ask(
        site, {"modelId": "number", "input": {"a": 1, "b": 2}, "explain": {"method": "lime"}}, "/mlops/predict"
    )
    assert lime["explanation"]["method"] == "lime"
    _, plain = await ask(site, {"modelId": "table", "input": ROW, "explain": False}, "/mlops/predict")
    assert "explanation" not in plain


async def test_an_explanation_that_fails_takes_nothing_from_the_prediction(
    site: Site, settings: ServingSettings
) -> None:
    site.deploy(publish(settings, "labels", sample=False))
    request = {"modelId": "labels", "input": {"a": 1, "b": 2}, "explain": True}
    status, answer = await ask(site, request, "/mlops/predict")
    assert (status, answer["prediction"], answer["explanation"]) == (200, "high", None)
    assert answer["explanation_error"]["code"] == "no-baseline-sample"
    status, answer = await ask(site, {"modelId": "labels", "input": {"a": 1, "b": 2}})
    assert (status, answer["code"]) == (409, "no-baseline-sample")


async def test_a_constant_has_no_explanation(site: Site, settings: ServingSettings) -> None:
    site.deploy(publish(settings, "labels"), Constant(prediction="low"))
    request = {"modelId": "labels", "input": {"a": 1, "b": 2}, "explain": True}
    status, answer = await ask(site, request, "/mlops/predict")
    assert (status, answer["prediction"], answer["explanation"]) == (200, "low", None)
    assert "constant" in answer["explanation_error"]["detail"]


async def test_what_is_explained_is_not_logged_as_a_prediction(site: Site) -> None:
    log = site.logs["table"]
    await ask(site, {"modelId": "table", "input": {**ROW, "oops": 1}})
    await ask(site, {"modelId": "table", "inputs": [ROW] * 5})
    served = site.catalog.models["table"].versions["1.0.0"]
    assert (log.current, served.measures.rows, served.measures.requests) == (None, 0, 0)
    await ask(site, {"modelId": "table", "input": ROW, "explain": True}, "/mlops/predict")
    assert served.measures.rows == 1


@pytest.mark.parametrize(
    ("document", "status", "names"),
    [
        ({"modelId": "table"}, 422, "either input"),
        ({"modelId": "table", "input": ROW, "inputs": [ROW]}, 422, "either input"),
        ({"modelId": "table", "inputs": []}, 422, "inputs"),
        ({"input": ROW}, 422, "model_id"),
        ({"modelId": "table", "input": ROW, "method": "tarot"}, 422, "method"),
        ({"modelId": "table", "input": ROW, "seed": -1}, 422, "seed"),
        ({"modelId": "table", "input": ROW, "seed": 2**32}, 422, "seed"),
        ({"modelId": "table", "input": ROW, "samples": 10**9}, 413, "TRIMTAB_SERVING_EXPLAIN_SAMPLES"),
        ({"modelId": "table", "input": ROW, "samples": 3}, 422, "at least 9"),
        ({"modelId": "table", "input": ROW, "class": "virus"}, 422, "virus"),
        ({"modelId": "number", "input": {"a": 1, "b": 2}, "class": "dos"}, 422, "a number"),
        ({"modelId": "table", "inputs": [ROW] * 33}, 413, "TRIMTAB_SERVING_EXPLAIN_ROWS"),
        ({"modelId": "table", "inputs": [ROW] * 32, "samples": 20_000}, 413, "EVALUATIONS"),
        ({"modelId": "table", "inputs": [ROW, {"duration": 1}]}, 422, "inputs[1]"),
        ({"modelId": "table", "input": {**ROW, "service": "x" * 70_000}}, 422, "service"),
        ({"modelId": "table", "input": ROW, "oops": 1}, 422, "oops"),
        ({"modelId": "vector", "input": {"x": [1, 2, 3]}}, 422, "'x'"),
        ({"modelId": "secret", "input": ROW}, 403, "other models"),
        ({"modelId": "nobody", "input": ROW}, 503, "registry"),
        (b'{"modelId": "table", "input": ', 400, "JSON"),
        (b"[1]", 422, "object"),
        (b"\xff\xfe", 400, "JSON"),
        (b'{"modelId": "table", "input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "nested"),
    ],
)
async def test_bad_requests_are_refused_by_name(site: Site, document: Any, status: int, names: str) -> None:
    got, answer = await ask(site, document)
    assert (got, names in answer["detail"]) == (status, True), answer


async def test_batches_are_explained_elsewhere(site: Site) -> None:
    request = {"modelId": "table", "inputs": [ROW], "explain": True}
    status, answer = await ask(site, request, "/mlops/predict/batch")
    assert (status, "/mlops/explain" in answer["detail"]) == (422, True)


async def test_a_tensor_is_explained_by_its_elements(site: Site) -> None:
    status, answer = await ask(site, {"modelId": "vector", "input": {"x": [1, 2, 3, 4]}})
    assert status == 200
    assert {one["feature"]: one["value"] for one in answer["contributions"]} == {f"x[{i}]": i + 1 for i in range(4)}
