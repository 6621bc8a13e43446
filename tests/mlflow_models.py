"""Log models into an MLflow server. Runs in the environment of `requirements/mlflow.lock`:

python tests/mlflow_models.py TRACKING_URI FOLDER

`FOLDER/graph.onnx` takes a matrix of four columns, `FOLDER/network` is a model folder. What was logged, and what
MLflow itself predicts, is written to `FOLDER/seeded.json`.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, Schema
from sklearn.linear_model import LogisticRegression

uri, folder = sys.argv[1], Path(sys.argv[2])
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()

columns = [ColSpec("double", name) for name in ("sepal_length", "sepal_width", "petal_length")]
columns.append(ColSpec("float", "petal_width", required=False))
rows = pandas.DataFrame(
    np.random.default_rng(0).normal(size=(5, 4)).astype("float32"), columns=[column.name for column in columns]
)
seeded: dict[str, Any] = {"rows": rows.to_dict("records")}


class Doubled(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A model that is nothing but code."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input * 2


with mlflow.start_run(run_name="first", tags={"team": "blue"}) as run:
    seeded["run_id"] = run.info.run_id
    mlflow.log_metrics({"accuracy": 0.9, "loss": math.nan})
    mlflow.log_params({"depth": 3, "rate": 0.1, "solver": "adam"})
    mlflow.log_input(mlflow.data.from_pandas(rows, name="iris"), context="training")
    graph = onnx.load(folder / "graph.onnx")
    signature = ModelSignature(inputs=Schema(columns))
    plain: dict[str, Any] = {"pip_requirements": []}  # else MLflow looks for them in a process of its own
    logged = mlflow.onnx.log_model(graph, name="flower", signature=signature, registered_model_name="iris", **plain)
    seeded["model_id"] = logged.model_id
    seeded["probabilities"] = mlflow.pyfunc.load_model(logged.model_uri).predict(rows)["probabilities"].tolist()
    classifier = LogisticRegression().fit(rows, [0, 1, 0, 1, 0])
    mlflow.sklearn.log_model(classifier, name="sk", registered_model_name="in-skops", **plain)
    pickled = {"serialization_format": "cloudpickle", "registered_model_name": "in-pickle", **plain}
    mlflow.sklearn.log_model(classifier, name="pickled", **pickled)
    mlflow.pyfunc.log_model(name="code", python_model=Doubled(), registered_model_name="in-code", **plain)
    client.log_artifacts(run.info.run_id, str(folder / "network"), "network")

client.update_model_version("iris", "1", description="The first that is any good.")
client.set_model_version_tag("iris", "1", "owner", "ann")
client.set_registered_model_alias("iris", "champion", "1")
elsewhere = client.create_experiment("elsewhere", artifact_location=(folder / "elsewhere").as_uri())
with mlflow.start_run(experiment_id=elsewhere):
    mlflow.onnx.log_model(graph, name="flower", registered_model_name="not-handed-out", **plain)
(folder / "seeded.json").write_text(json.dumps(seeded))
