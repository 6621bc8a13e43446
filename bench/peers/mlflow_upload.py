"""Uploads a file by MLflow's own client, and makes a version of it. In the environment of `requirements/mlflow.lock`:

python bench/peers/mlflow_upload.py TRACKING_URI FILE MODEL

Prints the seconds until the file was sent, and until the version was made, as a JSON list.
"""

import json
import sys
import time

from mlflow import MlflowClient

uri, path, name = sys.argv[1:]
client = MlflowClient(uri)
run = client.create_run("0")
client.create_registered_model(name)
begun = time.perf_counter()
client.log_artifact(run.info.run_id, path)
sent = time.perf_counter() - begun
client.create_model_version(name, run.info.artifact_uri, run.info.run_id)
print(json.dumps([sent, time.perf_counter() - begun]))
