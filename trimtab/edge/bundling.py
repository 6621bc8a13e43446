"""Makes an edge bundle: a ZIP archive of one folder that holds a version's graph and what answers for it.

```
ID-VERSION-edge/
    bundle.json        the version, the graph's name, the digests of the manifest and of its signature
    manifest.json      byte by byte what the manifest digest covers; it holds the graph's digest and the signature
    model.onnx         the graph
    trimtab_edge/      the runner: a copy of `trimtab.edge.runner`
    requirements.txt   what the runner needs
    README.md          how it is used
    trimtab-edge.service   an example for systemd
```

The same version gives the same archive, byte by byte, as long as the runner is the same.
"""

import hashlib
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from trimtab import calls
from trimtab.calls import Call
from trimtab.edge.runner.bundle import BUNDLE_NAME, FORMAT, FORMAT_VERSION, MANIFEST_NAME, canonical
from trimtab.errors import IntegrityFailed, InvalidInput
from trimtab.streaming import download, written
from trimtab.surface import answer_of

RUNNER = Path(__file__).parent / "runner"
PAPERS = Path(__file__).parent / "papers"
PACKAGE = "trimtab_edge"

_BLOCK_BYTES = 1 << 20


def export_edge(
    http: httpx.Client, model_id: str, version: str, path: Path, progress: Callable[[int, int], None] | None = None
) -> int:
    """Write the edge bundle of a version to `path`; its length in bytes. Blocking.

    Raises `InvalidInput` for a version without an ONNX graph (a TensorFlow SavedModel), `IntegrityFailed` when what
    came is not what the manifest says, and the errors of every call.
    """
    manifest = answer_of(http.request("GET", calls.manifest(model_id, version).path))
    graph_of(manifest, f"{model_id} {version}")
    call = Call("GET", f"/mlops/models/{calls.part(model_id)}/{calls.part(version)}/export")
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-edge-") as folder:
            archive = Path(folder) / "version.tar"
            download(http, call, archive, progress)
            with written(path) as file:
                write_bundle(archive, file)
    except OSError as error:
        raise InvalidInput(f"{path} can't be written ({error.strerror or error})") from error
    return path.stat().st_size


def graph_of(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """The manifest's entry of the one ONNX graph. Raises `InvalidInput`: there is none, or not one."""
    files = manifest.get("files", [])
    graphs = [file for file in files if file.get("is_model") and str(file.get("path")).endswith(".onnx")]
    if len(graphs) != 1 or "/" in graphs[0]["path"]:
        raise InvalidInput(
            f"{name} has {len(graphs)} ONNX graphs among its model files: an edge bundle runs exactly one, and no "
            "TensorFlow SavedModel; convert the model to ONNX and register it"
        )
    graph: dict[str, Any] = graphs[0]
    return graph


def write_bundle(archive: Path, target: BinaryIO) -> None:
    """Write the bundle of the version in a registry's archive (`services.registry.archives.archive`).

    Raises `InvalidInput` and `IntegrityFailed`.
    """
    with tarfile.open(archive) as source:
        record = json.loads(_member(source, "record.json").read())
        data = _member(source, f"model/{MANIFEST_NAME}").read()
        if hashlib.sha256(data).hexdigest() != record["manifest_digest"]:
            raise IntegrityFailed(f"the archive's {MANIFEST_NAME} does not have the digest that its record gives")
        manifest = json.loads(data)
        graph = graph_of(manifest, f"{record['model_id']} {record['version']}")
        about = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model_id": record["model_id"],
            "version": record["version"],
            "graph": graph["path"],
            "manifest_digest": record["manifest_digest"],
            "signature_digest": hashlib.sha256(canonical(manifest["signature"])).hexdigest(),
        }
        at = datetime.fromisoformat(record["registered_at"]).astimezone(UTC)
        folder = f"{record['model_id']}-{record['version']}-edge"
        with zipfile.ZipFile(target, "w") as bundle:
            for name, content in _small(about, data):
                bundle.writestr(_info(f"{folder}/{name}", at), content, zipfile.ZIP_DEFLATED)
            _copy(_member(source, f"model/{graph['path']}"), bundle, _info(f"{folder}/{graph['path']}", at), graph)


def _small(about: dict[str, Any], manifest: bytes) -> Iterator[tuple[str, bytes]]:
    yield BUNDLE_NAME, json.dumps(about, indent=1).encode() + b"\n"
    yield MANIFEST_NAME, manifest
    for path in sorted(RUNNER.glob("*.py")):
        yield f"{PACKAGE}/{path.name}", path.read_bytes()
    for path in sorted(PAPERS.iterdir()):
        text = path.read_text("utf-8").replace("{model_id}", about["model_id"]).replace("{version}", about["version"])
        yield path.name, text.encode()


def _info(name: str, at: datetime) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (max(at.year, 1980), at.month, at.day, at.hour, at.minute, at.second))
    info.external_attr = 0o644 << 16
    info.create_system = 3
    return info


def _copy(source: Any, bundle: zipfile.ZipFile, info: zipfile.ZipInfo, file: dict[str, Any]) -> None:
    """A large file, block by block and as it is: weights do not get smaller. Raises `IntegrityFailed`."""
    digest, size = hashlib.sha256(), 0
    info.file_size = int(file["size"])
    with bundle.open(info, "w") as target:
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            target.write(block)
    if digest.hexdigest() != file["sha256"] or size != file["size"]:
        raise IntegrityFailed(f"{file['path']} does not have the digest that the manifest gives")


def _member(source: tarfile.TarFile, name: str) -> Any:
    try:
        found = source.extractfile(name)
    except (KeyError, tarfile.TarError) as error:
        raise IntegrityFailed(f"the archive lacks {name}") from error
    if found is None:
        raise IntegrityFailed(f"{name} in the archive is not a file")
    return found
