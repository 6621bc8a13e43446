"""Make the bucket of the artifact store, unless it is there. Takes the settings that every process takes.

python deploy/make_bucket.py
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.kernel.settings import Settings

THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def main() -> int:
    """0 when the bucket exists, 1 with a sentence when it could not be made."""
    settings = Settings()
    if settings.model_storage_type != "s3" or not settings.s3_bucket:
        print("nothing to do: MODEL_STORAGE_TYPE is not s3, or S3_BUCKET is not set", file=sys.stderr)
        return 1
    secret = settings.s3_secret_access_key
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    try:
        client.create_bucket(Bucket=settings.s3_bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in THERE:
            print(f"the bucket {settings.s3_bucket} could not be made: {error}", file=sys.stderr)
            return 1
    except BotoCoreError as error:
        print(f"the S3 server at {settings.s3_endpoint_url} does not answer: {error}", file=sys.stderr)
        return 1
    print(f"the bucket {settings.s3_bucket} is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
