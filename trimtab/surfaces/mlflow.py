"""Models that MLflow keeps."""

from abc import abstractmethod
from typing import Any

from trimtab.surfaces.sender import Answer, Sender


class Mlflow(Sender[Answer]):
    """Import from MLflow."""

    @abstractmethod
    def register_model(
        self, path_or_model: Any, *, model_id: str, version: str | None = None, **metadata: Any
    ) -> Answer:
        """Upload a folder as a new draft."""

    def import_mlflow(
        self,
        source: str,
        *,
        model_id: str,
        tracking_uri: str | None = None,
        version: str | None = None,
        **metadata: Any,
    ) -> Answer:
        """Register a model that MLflow keeps as a new draft; metrics, parameters, tags and lineage come along.

        `source` is a folder with an MLmodel file, or `models:/name/version`, `models:/name@alias`, `models:/m-id` or
        `runs:/run/path` of the tracking server `tracking_uri` (none: `MLFLOW_TRACKING_URI`). `metadata` (description,
        classes, tags, ...) goes before what MLflow says. Nothing is unpickled: a model that is kept so is refused,
        `UnsupportedMedia`, with the way to convert it.
        """
        from trimtab.mlflow.importing import Imported, imported

        def register(ready: Imported) -> Answer:
            return self.register_model(ready.folder, model_id=model_id, version=version, **ready.metadata)

        return self.prepared(lambda: imported(source, tracking_uri=tracking_uri, metadata=metadata), register)
