"""Settings of the stores that the suites run on."""

from typing import Any

from services.kernel.settings import Settings
from tests.object_store import S3Server


def s3_settings(server: S3Server, bucket: str, **changes: str) -> Settings:
    """Settings for `bucket` of `server`."""
    values: dict[str, Any] = {
        "model_storage_type": "s3",
        "s3_bucket": bucket,
        "s3_endpoint_url": server.endpoint_url,
        "s3_access_key_id": server.access_key,
        "s3_secret_access_key": server.secret_key,
    }
    return Settings(**{**values, **changes})
