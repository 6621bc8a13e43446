"""Where artifacts lie: one interface over a local folder and any S3.

`open_store(settings)` gives the configured store. Every store passes `tests/contract/test_storage.py`.
"""

from services.kernel.settings import Settings
from services.kernel.storage.store import ArtifactStore, StoredObject

__all__ = ["ArtifactStore", "StoredObject", "open_store"]


def open_store(settings: Settings) -> ArtifactStore:
    """The artifact store that `settings` name, checked to be usable.

    boto3 is imported only when the store is an S3. Raises `Misconfigured` with the remedy when the folder
    cannot be written, the bucket does not exist or the credentials are refused, and `Unavailable` when no
    server answers.
    """
    settings.check()
    if settings.model_storage_type == "s3":
        from services.kernel.storage.s3 import S3Store

        assert settings.s3_bucket is not None  # `check` saw to it
        return S3Store.connect(
            settings.s3_bucket,
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            access_key_id=settings.s3_access_key_id,
            secret_access_key=settings.s3_secret_access_key.get_secret_value()
            if settings.s3_secret_access_key
            else None,
        )
    from services.kernel.storage.local import LocalStore

    return LocalStore(settings.storage_dir or settings.data_dir / "artifacts")
