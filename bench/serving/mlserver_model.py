"""Writes the benchmark's model for MLServer. Runs in the peer's own environment:

python bench/peers/mlserver_model.py DIRECTORY HTTP_PORT
"""

import json
import sys
from pathlib import Path

import joblib  # type: ignore[import-untyped]
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier

directory, port = Path(sys.argv[1]), int(sys.argv[2])
x, y = make_classification(5_000, 20, n_informative=12, n_classes=6, random_state=0)
directory.mkdir(parents=True, exist_ok=True)
joblib.dump(MLPClassifier((64, 32), max_iter=15, random_state=0).fit(x.astype("float32"), y), directory / "mlp.joblib")
model = {
    "name": "mlp",
    "implementation": "mlserver_sklearn.SKLearnModel",
    "parameters": {"uri": "./mlp.joblib", "version": "v1"},
}
server = {
    "debug": False,
    "http_port": port,
    "grpc_port": port + 1,
    "metrics_port": port + 2,
    "host": "127.0.0.1",
    "parallel_workers": 0,
}
(directory / "model-settings.json").write_text(json.dumps(model))
(directory / "settings.json").write_text(json.dumps(server))
