"""One version as a file: from registry to registry, or out to the edge."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import calls
from trimtab.calls import Call
from trimtab.surfaces.sender import Answer, Sender

if TYPE_CHECKING:
    import httpx

TAR = "application/x-tar"


class Archives(Sender[Answer]):
    """Export and import of a version, and the edge bundle."""

    @abstractmethod
    def over_http(self, work: "Callable[[httpx.Client], Any]") -> Answer:
        """What `work`, which blocks, returns: it gets a connection; the asynchronous client runs it in a thread."""

    def export_model(
        self, model_id: str, version: str, path: str | Path, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Answer:
        """Write a version with its record and signatures to one tar archive at `path`; its length in bytes.

        Another registry takes it with `import_model`. `on_progress` is called with (bytes so far, bytes in all), by
        another thread in `AsyncClient`.
        """
        from trimtab.streaming import download

        call = calls.get(f"/mlops/models/{calls.part(model_id)}/{calls.part(version)}/export")
        broken = f"; maybe a stored file is damaged: `trimtab models verify {model_id} {version}` reads them all"
        return self.over_http(lambda http: download(http, call, Path(path), on_progress, broken=broken))

    def export_edge(
        self, model_id: str, version: str, path: str | Path, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Answer:
        """Write a version as an edge bundle, a ZIP archive at `path` that predicts with Python, ONNX Runtime and NumPy
        alone and keeps a prediction log for this installation; its length in bytes.

        Raises `InvalidInput` for a version without an ONNX graph. `on_progress` as in `export_model`.
        """

        def work(http: "httpx.Client") -> int:
            from trimtab.edge.bundling import export_edge

            return export_edge(http, model_id, version, Path(path), on_progress)

        return self.over_http(work)

    def import_model(self, path: str | Path, *, on_progress: Callable[[int, int], None] | None = None) -> Answer:
        """Take the version from an archive that `export_model` wrote: a draft with the number that it had.

        The same archive again changes nothing. Raises `Conflict` when the number holds something else here.
        """
        from trimtab.streaming import upload

        call = Call("POST", "/mlops/models/import")
        return self.over_http(lambda http: upload(http, call, Path(path), TAR, on_progress))
