"""Versions that the SDK makes of fitted models, through the registry's own checks: nothing is refused, nothing bent."""

import json
from typing import Any

import lightgbm
import pytest
import xgboost
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from schemas.features import Signature
from tests.contract.registry.conftest import Registry
from tests.unit.trimtab.conversion.converting import version_of
from tests.unit.trimtab.conversion.people import income, people, wealth
from tests.unit.trimtab.conversion.test_sklearn import prepared


def models() -> dict[str, Any]:
    """Fitted, of several libraries and with every kind of output."""
    truth = wealth(people())
    codes = (truth == "rich").astype(int)
    return {
        "a label": prepared(LinearSVC(), OneHotEncoder()).fit(people(), truth),
        "a value": prepared(LinearRegression()).fit(people(), income(people())),
        "xgboost": prepared(xgboost.XGBClassifier(n_estimators=5)).fit(people(), codes),
        "lightgbm": prepared(lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)).fit(people(), truth),
    }


@pytest.mark.parametrize("name", models())
async def test_a_converted_model_is_registered_as_it_was_sent(registry: Registry, name: str) -> None:
    sample = people(100, seed=1)
    made = version_of(models()[name], sample, metadata={"model_id": "people"})
    files = {path: data for path, data in made.files.items() if path != "model.onnx"}
    answer = await registry.client.post(
        "/mlops/models",
        data={"metadata": json.dumps(made.metadata)},
        files=[("file", (path, data)) for path, data in {**files, "model.onnx": made.files["model.onnx"]}.items()],
    )
    assert answer.status_code == 201, answer.text
    version = answer.json()["version"]
    known = (await registry.client.get(f"/mlops/models/people/{version}")).json()
    assert Signature.model_validate(known["signature"]) == made.signature
    assert known["framework"] == "scikit-learn"
    assert known["tags"]["framework_version"]
    manifest = (await registry.client.get(f"/mlops/models/people/{version}/manifest")).json()
    assert {file["path"] for file in manifest["files"]} == {"model.onnx", "baseline.json", "baseline.parquet"}

    again = version_of(models()[name], sample, metadata={"model_id": "people"})
    repeated = await registry.client.post(
        "/mlops/models",
        data={"metadata": json.dumps(again.metadata)},
        files=[("file", (path, data)) for path, data in again.files.items()],
    )
    assert (repeated.status_code, repeated.json()["version"]) == (200, version)
