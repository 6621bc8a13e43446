"""Uploads straight to S3: multipart uploads whose parts the caller puts by pre-signed URLs (signature v4).

Source: the S3 API reference, CreateMultipartUpload, UploadPart, ListParts, CompleteMultipartUpload. A part's length is
signed with its URL, so that a URL is no licence to fill the bucket.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from services.kernel.errors import InvalidInput, NotFound, TrimtabError
from services.kernel.storage.direct import SentPart
from services.kernel.storage.keys import checked_key

if TYPE_CHECKING:
    from services.kernel.storage.s3 import S3Store

_WRONG_PARTS = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "400", "MalformedXML"}


class S3Parts:
    """`DirectUploads` into the bucket of `store`."""

    def __init__(self, store: "S3Store") -> None:
        self._store = store
        self._client, self._bucket = store.client, store.bucket

    def begin(self, key: str) -> str:
        """See `DirectUploads`."""
        with self._store.mapped(checked_key(key)):
            return self._client.create_multipart_upload(Bucket=self._bucket, Key=key)["UploadId"]

    def url_of(self, key: str, upload_id: str, number: int, size: int, seconds: int) -> str:
        """See `DirectUploads`. Nothing is sent."""
        with self._store.mapped(checked_key(key)):
            return self._client.generate_presigned_url(
                "upload_part",
                Params={
                    "Bucket": self._bucket,
                    "Key": key,
                    "UploadId": upload_id,
                    "PartNumber": number,
                    "ContentLength": size,
                },
                ExpiresIn=seconds,
                HttpMethod="PUT",
            )

    def sent(self, key: str, upload_id: str) -> Mapping[int, SentPart]:
        """See `DirectUploads`. 1,000 parts a request."""
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=self._bucket, Key=checked_key(key), UploadId=upload_id
        )
        with self._store.mapped(key):
            return {
                part["PartNumber"]: SentPart(part["Size"], part["ETag"].strip('"'))
                for page in pages
                for part in page.get("Parts", ())
            }

    def complete(self, key: str, upload_id: str, etags: Mapping[int, str]) -> None:
        """See `DirectUploads`."""
        parts = [{"PartNumber": number, "ETag": f'"{etags[number]}"'} for number in sorted(etags)]
        try:
            with self._store.mapped(checked_key(key)):
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
                )
        except TrimtabError as error:
            if isinstance(error.__cause__, ClientError) and error.__cause__.response["Error"]["Code"] in _WRONG_PARTS:
                raise InvalidInput(f"S3 does not take these parts ({error.__cause__}): send them again") from error
            raise

    def abort(self, key: str, upload_id: str) -> None:
        """See `DirectUploads`."""
        try:
            with self._store.mapped(checked_key(key)):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        except NotFound:
            return

    def copy(self, source: str, key: str) -> None:
        """See `DirectUploads`. Objects over 5 GB are copied in parts, by the server all the same."""
        self._store.copy(checked_key(source), checked_key(key))
