"""What a process that died before it registered has left in the store."""

import hashlib
import tempfile
from pathlib import Path

from schemas.manifest import Lineage, Manifest
from services.kernel.artifacts import blob_key, build_manifest, store_version, write_manifest
from services.kernel.storage import ArtifactStore
from services.registry.keeping.collector import Collector
from services.registry.keeping.report import Graces
from tests.contract.registry.conftest import Registry
from tests.golden.registry_database import SIGNATURE
from tests.graphs import classifier

HOUR = 3600.0


def leave(
    store: ArtifactStore, prefix: str, files: dict[str, bytes] | None = None, *, job_id: str | None = None
) -> Manifest:
    """A complete version under `prefix` that nobody has registered: `model.onnx`, and `files`."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        for name, data in {"model.onnx": classifier(99).SerializeToString(), **(files or {})}.items():
            directory.joinpath(name).write_bytes(data)
        manifest = build_manifest(
            directory,
            model_id=prefix.split("/")[1],
            framework="onnx",
            signature=SIGNATURE,
            lineage=Lineage(job_id=job_id),
        )
        write_manifest(directory, manifest)
        store_version(store, directory, prefix)
        return manifest


def collector(
    registry: Registry, seconds: float = 0.0, job_seconds: float = 0.0, upload_seconds: float = 0.0
) -> Collector:
    """A collector of the registry's store, with other graces."""
    return Collector(registry.service.work, registry.store, Graces(seconds, job_seconds, upload_seconds), HOUR)


def keys(store: ArtifactStore, folder: str = "") -> set[str]:
    """Everything in the store."""
    return {item.key for item in store.list(folder)}


def blob(data: bytes) -> str:
    """Where these bytes lie."""
    return blob_key(hashlib.sha256(data).hexdigest())
