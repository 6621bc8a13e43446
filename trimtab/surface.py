"""What both clients offer: one method a route, written once.

`Client` is a `Surface[Any]` whose methods return the answer's JSON; `AsyncClient` is a `Surface[Awaitable[Any]]`, so
its methods are awaited. Every method raises an error of `trimtab.errors` when the server refuses, and `Unavailable`
when nobody answers.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from schemas.manifest import MODEL_NAME, SAVED_MODEL_NAME
from services.kernel.errors import Misconfigured
from trimtab import calls
from trimtab.errors import InvalidInput, TrimtabError, Unavailable, error_of
from trimtab.surfaces.archives import Archives
from trimtab.surfaces.catalog import Catalog
from trimtab.surfaces.deployments import Deployments
from trimtab.surfaces.events import Events
from trimtab.surfaces.explanations import Explanations
from trimtab.surfaces.governance import Governance
from trimtab.surfaces.keeping import Keeping
from trimtab.surfaces.mlflow import Mlflow
from trimtab.surfaces.sender import Answer, Sender

DEFAULT_PORT = "3006"
LARGEST_PORT = 65535


class Surface(
    Archives[Answer],
    Catalog[Answer],
    Deployments[Answer],
    Events[Answer],
    Explanations[Answer],
    Governance[Answer],
    Keeping[Answer],
    Mlflow[Answer],
    Sender[Answer],
):
    """The routes of Trimtab as methods. Further groups of them are mixed in from `trimtab.surfaces`."""

    # training

    def submit_job(self, job: Mapping[str, Any], *, idempotency_key: str | None = None) -> Answer:
        """Ask for a training; the answer holds its `job_id`. With a key, asking again starts nothing new."""
        return self.send(calls.submit_job(job, idempotency_key))

    def jobs(self, model_id: str | None = None) -> Answer:
        """Training jobs, the newest first."""
        return self.send(calls.jobs(model_id))

    def job(self, job_id: str) -> Answer:
        """One training job: its state, progress, metrics."""
        return self.send(calls.job(job_id))

    def cancel_job(self, job_id: str) -> Answer:
        """Stop a job that is queued or running."""
        return self.send(calls.cancel_job(job_id))

    # registry

    def model(self, model_id: str) -> Answer:
        """One model with its versions."""
        return self.send(calls.model(model_id))

    def version(self, model_id: str, version: str) -> Answer:
        """One version: stage, metrics, hyper-parameters, lineage, signature."""
        return self.send(calls.version(model_id, version))

    def manifest(self, model_id: str, version: str) -> Answer:
        """The version's signed-off record of files and digests."""
        return self.send(calls.manifest(model_id, version))

    def history(self, model_id: str, version: str | None = None, *, at: datetime | None = None) -> Answer:
        """Every move of a model's versions, or of one version, the newest first: who, when, why.

        With `at` (UTC), of a model: what was in production then, and the move that brought it there.
        """
        return self.send(calls.history(model_id, version, at))

    def register_model(
        self,
        path_or_model: Any,
        *,
        model_id: str,
        version: str | None = None,
        sample: Any = None,
        labels: Any = None,
        classes: Sequence[Any] | None = None,
        feature_names: Sequence[str] | None = None,
        direct: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
        **metadata: Any,
    ) -> Answer:
        """Register a new draft: an ONNX file, a folder, or a fitted model. `metadata`: model_name, description, ...

        A fitted model of scikit-learn, XGBoost, LightGBM or Keras is converted to ONNX here, proved against its own
        predictions on `sample` (rows as it takes them, best held back from training), and uploaded with a signature and
        a drift baseline. `labels` are the sample's truth, for metrics; `classes` (re)names the classes, in the model's
        order; `feature_names` those of an array's columns. Raises `NotConvertible` (an `InvalidInput`) when the model,
        its sample or its graph do not fit, and `Misconfigured` when a converter is not installed.

        A TensorFlow SavedModel's folder is converted too, where it can be; where not it is registered as it is, and the
        tag `onnx` says why.

        The answer's `created` is false when this very record was here already. Only what the registry lacks is sent,
        and a broken connection gone on with. `direct` sends it straight to S3,
        where the registry keeps its artifacts there. `on_progress` is called with (bytes sent, bytes to send in all).
        """
        given: dict[str, Any] = {"model_id": model_id, **calls.given(version=version), **metadata}
        if isinstance(path_or_model, str | Path):
            if sample is not None or labels is not None or feature_names is not None:
                raise InvalidInput("sample, labels and feature_names belong to a fitted model, not to a path")
            source = Path(path_or_model)
            if (source / SAVED_MODEL_NAME).is_file() and not (source / MODEL_NAME).exists():
                from trimtab.conversion.saved_model import convert_saved_model

                return self.prepared(
                    lambda: convert_saved_model(source, given, classes),
                    lambda made: self.send(calls.register_model(*made, direct=direct, on_progress=on_progress)),
                )
            about = {**given, **({} if classes is None else {"classes": list(classes)})}
            return self.send(calls.register_model(path_or_model, about, direct=direct, on_progress=on_progress))

        def prepare() -> AbstractContextManager[tuple[Path, Mapping[str, Any]]]:
            from trimtab.conversion.version_folder import convert

            return convert(
                path_or_model,
                sample,
                labels=labels,
                classes=classes,
                feature_names=feature_names,
                metadata=given,
            )

        return self.prepared(
            prepare, lambda made: self.send(calls.register_model(*made, direct=direct, on_progress=on_progress))
        )

    def promote(
        self, model_id: str, version: str, stage: str, *, comment: str = "", changes: str | None = None
    ) -> Answer:
        """Move a version to `staging` or `production`. `changes`: what is different from its parent.

        Raises `Conflict`; what the model's policy asks for and is not met is in its `facts["unmet"]`.
        """
        return self.send(calls.promote(model_id, version, stage, comment, changes))

    def archive(self, model_id: str, version: str, *, comment: str = "") -> Answer:
        """Take a version out of use; it is kept for ever."""
        return self.send(calls.archive(model_id, version, comment))

    # prediction

    def predict(self, model_id: str, input: Mapping[str, Any], *, version: str | None = None) -> Answer:
        """One prediction: `{prediction, probabilities, model_id, version, route, prediction_id, latency_ms, ...}`."""
        return self.send(calls.predict(model_id, input, version))

    def predict_batch(
        self, model_id: str, inputs: Iterable[Mapping[str, Any]], *, version: str | None = None
    ) -> Answer:
        """Many predictions in one request, in the order of `inputs`."""
        return self.send(calls.predict_batch(model_id, inputs, version))

    def send_labels(self, model_id: str, labels: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Answer:
        """The truth about earlier predictions: `{prediction_id: label}`, or documents with both."""
        return self.send(calls.send_labels(model_id, labels))

    # monitoring

    def drift(self, model_id: str) -> Answer:
        """The latest scores of every feature, the open signals and the measured performance."""
        return self.send(calls.drift(model_id))

    def monitoring(self, model_id: str) -> Answer:
        """How a model is watched."""
        return self.send(calls.monitoring(model_id))

    def set_monitoring(self, model_id: str, config: Mapping[str, Any]) -> Answer:
        """Set how a model is watched; takes the monitoring configuration document."""
        return self.send(calls.set_monitoring(model_id, config))

    def export_predictions(self, model_id: str, selection: Mapping[str, Any] | None = None) -> Answer:
        """Write logged predictions with their labels as one Parquet file in the artifact store."""
        return self.send(calls.export_predictions(model_id, selection))

    # loop

    def loop_status(self, model_id: str | None = None) -> Answer:
        """Where the closed loop stands, for one model or all."""
        return self.send(calls.loop_status(model_id))

    def loop_pause(self, model_id: str) -> Answer:
        """The loop starts nothing new for this model."""
        return self.send(calls.loop_action(model_id, "pause"))

    def loop_resume(self, model_id: str) -> Answer:
        """The loop may act again."""
        return self.send(calls.loop_action(model_id, "resume"))

    def loop_run(self, model_id: str) -> Answer:
        """Start a cycle now, without a signal."""
        return self.send(calls.loop_action(model_id, "run"))

    # experiments

    def create_experiment(self, config: Mapping[str, Any]) -> Answer:
        """Start a hyper-parameter search."""
        return self.send(calls.create_experiment(config))

    def experiments(self) -> Answer:
        """Every experiment."""
        return self.send(calls.experiments())

    def experiment(self, experiment_id: str) -> Answer:
        """One experiment with its trials."""
        return self.send(calls.experiment(experiment_id))

    def stop_experiment(self, experiment_id: str) -> Answer:
        """Ask for no further trials and cancel those under way. Raises `Conflict` when it has ended."""
        return self.send(calls.stop_experiment(experiment_id))

    def compare(self, experiment_ids: Iterable[str]) -> Answer:
        """Experiments side by side."""
        return self.send(calls.compare(experiment_ids))

    # keys and the installation

    def keys(self) -> Answer:
        """The API keys, without their secrets."""
        return self.send(calls.keys())

    def create_key(self, name: str, scopes: Iterable[str], *, model_prefixes: Iterable[str] = ()) -> Answer:
        """A new API key; its secret is in this answer and nowhere else."""
        return self.send(calls.create_key(name, scopes, model_prefixes))

    def revoke_key(self, key_id: str) -> Answer:
        """Make a key void."""
        return self.send(calls.revoke_key(key_id))

    def health(self) -> Answer:
        """How every service is."""
        return self.send(calls.health())

    def metrics(self) -> Answer:
        """The Prometheus metrics of all services, as text."""
        return self.send(calls.metrics())

    def serving_config(self) -> Answer:
        """The server configuration document."""
        return self.send(calls.serving_config())

    def set_serving_config(self, config: Mapping[str, Any]) -> Answer:
        """Replace the server configuration document."""
        return self.send(calls.set_serving_config(config))


def base_url(url: str | None) -> str:
    """`url`, else `TRIMTAB_URL`, else this machine at `TRIMTAB_SERVING_PORT`. Raises `Misconfigured`."""
    chosen = url or os.environ.get("TRIMTAB_URL")
    if chosen:
        return _checked_url(chosen).rstrip("/")
    port = os.environ.get("TRIMTAB_SERVING_PORT") or DEFAULT_PORT
    if not (port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT):
        raise Misconfigured(f"TRIMTAB_SERVING_PORT is {port!r}, which is no port")
    return f"http://127.0.0.1:{port}"


def _checked_url(url: str) -> str:
    try:
        address, port = httpx.URL(url), urlsplit(url).port
        fits = address.scheme in ("http", "https") and address.host and port != 0
    except (httpx.InvalidURL, ValueError):
        fits = False
    if not fits or any(character.isspace() for character in url):
        raise Misconfigured(f"--url (TRIMTAB_URL) is {url!r}: give an address such as http://127.0.0.1:{DEFAULT_PORT}")
    return url


def authorization(api_key: str | None) -> dict[str, str]:
    """The header for `api_key`, else for `TRIMTAB_API_KEY`, else none. Raises `Misconfigured`."""
    key = api_key or os.environ.get("TRIMTAB_API_KEY")
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise Misconfigured("--api-key (TRIMTAB_API_KEY) is no key: a key has no spaces, line ends or other letters")
    return {"Authorization": f"Bearer {key}"} if key else {}


def uses_proxies(url: str) -> bool:
    """Whether the environment's proxies may stand between us and `url`: never for this machine."""
    return (urlsplit(url).hostname or "") not in ("127.0.0.1", "localhost", "::1")


def answer_of(response: httpx.Response) -> Any:
    """The answer's JSON, or its text. Raises an error of `trimtab.errors`."""
    if response.status_code >= 400:
        raise refusal(response.status_code, response.content, response.request)
    if not response.content:
        return None
    if "json" in response.headers.get("content-type", ""):
        return response.json()
    return response.text


def redirected(url: str, response: httpx.Response) -> str | None:
    """Where `response` sends the caller of `url`, or None. Raises `Unavailable` for another host: keys stay here."""
    if response.status_code not in (307, 308):
        return None
    target = urlsplit(response.headers["location"])
    if target.hostname is not None and target.hostname != urlsplit(url).hostname:
        raise Unavailable(f"{url} sends uploads to {target.netloc}, another host: give that as the url")
    return target.geturl()


def refusal(status: int, body: bytes, request: httpx.Request) -> TrimtabError:
    """The error that a refused `request` is."""
    return error_of(status, body, f"{request.method} {request.url.path}")


def unreachable(url: str, error: httpx.HTTPError) -> Unavailable:
    """The error for a server that does not answer."""
    if isinstance(error, httpx.TimeoutException):
        return Unavailable(f"{url} did not answer in time")
    if isinstance(error, httpx.ConnectError):
        return Unavailable(f"nothing answers at {url}: start it with `trimtab up`, or give the right --url")
    return Unavailable(f"the connection to {url} broke ({type(error).__name__})")
