"""MLflow 3 with its SQLite store doing the same, by its REST API over one connection."""

import random
from typing import Any

from bench.registry.timing import Connection, Figures, Request, measured

API = "/api/2.0/mlflow"
MODELS = 100


def operations(url: str, total: int, count: int) -> dict[str, Figures]:
    """Make `MODELS` models and `total` versions of them; then read, each way `count` times."""
    rng = random.Random(2)
    run = rng.randbytes(4).hex()
    names = [f"model-{run}-{number:03}" for number in range(MODELS)]

    def post(path: str, document: Any) -> Request:
        return ("POST", f"{API}/{path}", document, {})

    def get(path: str, **query: Any) -> Request:
        return ("GET", f"{API}/{path}", None, query)

    with Connection(url) as connection:
        info = connection.ask("POST", f"{API}/runs/create", {"experiment_id": "0"})["run"]["info"]
    made = [post("registered-models/create", {"name": name, "description": "made by a benchmark"}) for name in names]
    versions = [
        post(
            "model-versions/create",
            {
                "name": names[place % MODELS],
                "run_id": info["run_id"],
                "source": f"{info['artifact_uri']}/{place}",  # a version is of files that lie where its run's do
                "description": f"Number {place} of the benchmark",
                "tags": [{"key": "team", "value": f"team-{place % 50}"}],
            },
        )
        for place in range(total)
    ]
    found = {"create a model": measured(url, made), "register a version": measured(url, versions)}
    places = [rng.randrange(total) for _ in range(10 * count)]
    found["get a version"] = measured(
        url,
        [get("model-versions/get", name=names[place % MODELS], version=place // MODELS + 1) for place in places],
    )
    found["list models"] = measured(url, [get("registered-models/search", max_results=100) for _ in range(count)])
    search = "model-versions/search"
    found["versions of a model"] = measured(
        url, [get(search, filter=f"name = '{rng.choice(names)}'", max_results=100) for _ in range(count)]
    )
    found["newest page"] = measured(
        url, [get(search, max_results=100, order_by="creation_timestamp DESC") for _ in range(count)]
    )
    found["search: tag"] = measured(
        url, [get(search, filter=f"tags.team = 'team-{rng.randrange(50)}'", max_results=100) for _ in range(count)]
    )
    return found


class Upload:
    """A place for files, and a model that they become a version of."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        with Connection(url) as connection:
            info = connection.ask("POST", f"{API}/runs/create", {"experiment_id": "0"})["run"]["info"]
            connection.ask("POST", f"{API}/registered-models/create", {"name": name})
        self._run_id, self._source = info["run_id"], info["artifact_uri"]

    @property
    def path(self) -> str:
        """Where its model.onnx is put by the artifact proxy."""
        folder = self._source.removeprefix("mlflow-artifacts:/").strip("/")
        return f"/api/2.0/mlflow-artifacts/artifacts/{folder}/model.onnx"

    def register(self) -> None:
        """A version of what was put there."""
        document = {"name": self._name, "run_id": self._run_id, "source": self._source}
        with Connection(self._url) as connection:
            connection.ask("POST", f"{API}/model-versions/create", document)
