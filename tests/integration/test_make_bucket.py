"""The one-shot program that makes the bucket, against a real S3 server."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

from tests.object_store import S3Server

ROOT = Path(__file__).parents[2]


def run(server: S3Server, bucket: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MODEL_STORAGE_TYPE": "s3",
        "S3_BUCKET": bucket,
        "S3_ENDPOINT_URL": server.endpoint_url,
        "TRIMTAB_S3_ACCESS_KEY_ID": server.access_key,
        "TRIMTAB_S3_SECRET_ACCESS_KEY": server.secret_key,
    }
    return subprocess.run(
        [sys.executable, "deploy/make_bucket.py"],
        cwd=ROOT,
        env=environment | changes,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_bucket_is_made_and_a_second_run_is_content(s3_server: S3Server) -> None:
    bucket = f"b{uuid.uuid4().hex[:10]}"
    first, second = run(s3_server, bucket), run(s3_server, bucket)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert bucket in [found["Name"] for found in s3_server.client().list_buckets()["Buckets"]]


def test_refused_credentials_are_told(s3_server: S3Server) -> None:
    answer = run(s3_server, "whatever", TRIMTAB_S3_SECRET_ACCESS_KEY="wrong")
    assert answer.returncode == 1
    assert "could not be made" in answer.stderr


def test_without_s3_there_is_nothing_to_make(s3_server: S3Server) -> None:
    answer = run(s3_server, "x", MODEL_STORAGE_TYPE="local")
    assert answer.returncode == 1
    assert "MODEL_STORAGE_TYPE" in answer.stderr
