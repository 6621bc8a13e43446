"""The artifact store in an S3 bucket: Amazon's or any server that speaks its protocol (path-style, signature
v4).

Requests are bounded in time and tried up to four times by botocore. Files of 16 MiB and more go up in parts
of that size; what a killed process left of such an upload is for `end_writes`, or the bucket's lifecycle rule
(AbortIncompleteMultipartUpload).
"""

import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from urllib3.exceptions import HTTPError

from services.kernel.errors import Misconfigured, NotFound, TooLarge, TrimtabError, Unavailable
from services.kernel.storage.keys import checked_key, checked_prefix
from services.kernel.storage.s3_parts import S3Parts
from services.kernel.storage.store import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

PART_BYTES = 16 << 20
CONNECT_SECONDS = 3.0
READ_SECONDS = 30.0
TRIES = 4

_ABSENT = {"404", "NoSuchKey", "NotFound", "NoSuchUpload"}
_TRANSFER = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)


class S3Store:
    """`ArtifactStore` in `bucket`. `connect` makes one and checks that it can be used."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    @classmethod
    def connect(
        cls,
        bucket: str,
        *,
        endpoint_url: str | None = None,
        region: str = "us-east-1",
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> Self:
        """A store whose bucket answered. Without keys boto3's own chain finds them (environment, profile,
        role).

        Raises `Misconfigured` (no such bucket, credentials missing or refused) or `Unavailable` (nobody
        answers).
        """
        try:
            client = boto3.session.Session().client(
                "s3",
                endpoint_url=endpoint_url,
                region_name=region,
                aws_access_key_id=access_key_id,
                aws_secret_access_key=secret_access_key,
                config=Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "path"},
                    retries={"mode": "standard", "total_max_attempts": TRIES},
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=read_seconds,
                    max_pool_connections=16,
                ),
            )
        except ValueError as error:
            raise Misconfigured(f"S3_ENDPOINT_URL {endpoint_url!r} is not a URL: {error}") from error
        store = cls(client, bucket)
        where = endpoint_url or f"Amazon S3 ({region})"
        try:
            client.head_bucket(Bucket=bucket)
        except ClientError as error:
            code = _code(error)
            if code in _ABSENT | {"NoSuchBucket"}:
                raise Misconfigured(f"there is no bucket {bucket!r} at {where}: create it or set S3_BUCKET") from error
            if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "401"):
                raise Misconfigured(
                    f"{where} refuses these credentials for bucket {bucket!r}: check AWS_ACCESS_KEY_ID, "
                    "AWS_SECRET_ACCESS_KEY, and that the key may list, read, write and delete there"
                ) from error
            raise Unavailable(f"{where} answered {code} for bucket {bucket!r}") from error
        except NoCredentialsError as error:
            raise Misconfigured("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        except (BotoCoreError, HTTPClientError) as error:
            raise Unavailable(f"no S3 server answers at {where}: {error}") from error
        return store

    @property
    def name(self) -> str:
        """Bucket and endpoint."""
        return f"S3 bucket {self.bucket} at {self.client.meta.endpoint_url}"

    def put_file(self, key: str, path: Path) -> None:
        """See `ArtifactStore`."""
        with self.mapped(checked_key(key)):
            self.client.upload_file(str(path), self.bucket, key, Config=_TRANSFER)

    def take_file(self, key: str, path: Path) -> None:
        """See `ArtifactStore`."""
        self.put_file(key, path)
        path.unlink()

    def path_of(self, key: str) -> Path | None:
        """See `ArtifactStore`."""
        self.stat(key)
        return None

    def put_bytes(self, key: str, data: bytes) -> None:
        """See `ArtifactStore`."""
        with self.mapped(checked_key(key)):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get_bytes(self, key: str, max_bytes: int | None = None) -> bytes:
        """See `ArtifactStore`."""
        with self.mapped(checked_key(key)):
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
            with answer["Body"] as body:
                if max_bytes is not None and answer["ContentLength"] > max_bytes:
                    raise TooLarge(f"{key} has more than {max_bytes} bytes")
                return body.read()

    def fetch(self, key: str, path: Path) -> None:
        """See `ArtifactStore`."""
        partial = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with self.mapped(checked_key(key)):
                self.client.download_file(self.bucket, key, str(partial), Config=_TRANSFER)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        """See `ArtifactStore`."""
        with self.mapped(checked_key(key)):
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
        return cast(BinaryIO, io.BufferedReader(_Body(self, key, body), 1 << 20))

    def exists(self, key: str) -> bool:
        """See `ArtifactStore`."""
        try:
            self.stat(key)
        except NotFound:
            return False
        return True

    def stat(self, key: str) -> StoredObject:
        """See `ArtifactStore`."""
        with self.mapped(checked_key(key)):
            found = self.client.head_object(Bucket=self.bucket, Key=key)
        return StoredObject(key, found["ContentLength"], found["LastModified"])

    def touch(self, key: str) -> None:
        """See `ArtifactStore`. The server copies the object onto itself."""
        self.copy(checked_key(key), key)

    def copy(self, source: str, key: str) -> None:
        """Copy an object inside the bucket, in parts where it is large; the bytes stay with the server."""
        place: CopySourceTypeDef = {"Bucket": self.bucket, "Key": source}
        with self.mapped(source):
            self.client.copy(place, self.bucket, key, ExtraArgs={"MetadataDirective": "REPLACE"}, Config=_TRANSFER)

    @property
    def direct(self) -> S3Parts:
        """See `ArtifactStore`."""
        return S3Parts(self)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `ArtifactStore`. 1,000 objects a request."""
        folder = checked_prefix(prefix)
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{folder}/" if folder else ""
        )
        with self.mapped(folder):
            for page in pages:
                for item in page.get("Contents", ()):
                    yield StoredObject(item["Key"], item["Size"], item["LastModified"])

    def delete(self, key: str) -> None:
        """See `ArtifactStore`."""
        with self.mapped(checked_key(key)):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def end_writes(self, prefix: str, before: datetime) -> int:
        """See `ArtifactStore`. 1,000 multipart uploads a request."""
        folder = checked_prefix(prefix)
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=f"{folder}/" if folder else ""
        )
        ended = 0
        with self.mapped(folder):
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        self.client.abort_multipart_upload(
                            Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        ended += 1
        return ended

    @contextmanager
    def mapped(self, key: str) -> Iterator[None]:
        """Turn the client's errors about `key` into ours."""
        try:
            yield
        except TrimtabError:
            raise
        except ClientError as error:
            if _code(error) in _ABSENT:
                raise NotFound(f"there is no artifact {key}") from error
            raise Unavailable(f"S3 answered {_code(error)} for {key}: {error}") from error
        except (BotoCoreError, HTTPClientError, Boto3Error, HTTPError) as error:
            raise Unavailable(f"S3 failed for {key}: {error}") from error


class _Body(io.RawIOBase):
    """A response's body as a raw stream; a cut connection is `Unavailable`, never a short file."""

    def __init__(self, store: S3Store, key: str, body: Any) -> None:
        self._store, self._key, self._body = store, key, body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._store.mapped(self._key):
            data: bytes = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "an error"))
