"""A real S3 server for tests: SeaweedFS, one program from PyPI, on free loopback ports."""

import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.kernel.leash import leashed
from tests.waiting import until_sync
from trimtab.local.ports import LOOPBACK, free_ports


@dataclass(frozen=True)
class S3Server:
    """Where the server is and who may use it."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"

    def client(self, **settings: Any) -> Any:
        """A boto3 S3 client for it (presigned URLs in the s3v4 form, which is the one it takes)."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, **settings),
        )


@contextmanager
def running_s3_server(directory: Path) -> Iterator[S3Server]:
    """Start one with its data in `directory`; stop it at the end."""
    names = ("s3", "master", "volume", "filer", "admin", "webdav")
    ports = iter(free_ports(2 * len(names)))
    chosen = {name: (next(ports), next(ports)) for name in names}
    server = S3Server(f"http://{LOOPBACK}:{chosen['s3'][0]}", "trimtab", "trimtab-secret")
    flags = [f"-{name}.port={plain}" for name, (plain, _) in chosen.items()]
    flags += [f"-{name}.port.grpc={grpc}" for name, (_, grpc) in chosen.items() if name != "webdav"]
    flags += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    flags += ["-master.telemetry=false", "-volume.preStopSeconds=0", "-volume.max=1000"]
    flags += [f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", f"-dir={directory}"]
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    with (directory / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            leashed([weed, "mini", *flags]),
            cwd=directory,
            env={**os.environ, **keys, "HOME": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until_sync(_takes_objects(server, process, directory), 60, "the S3 server's first object")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _takes_objects(server: S3Server, process: subprocess.Popen[bytes], directory: Path) -> Callable[[], bool]:
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client(retries={"max_attempts": 0}, connect_timeout=1, read_timeout=5)

    def ready() -> bool:
        if process.poll() is not None:
            raise RuntimeError("the S3 server ended: " + (directory / "weed.log").read_text("utf-8", "replace")[-2000:])
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")
            client.delete_object(Bucket="ready", Key="ready")
            client.delete_bucket(Bucket="ready")
        except (BotoCoreError, ClientError):
            return False
        return True

    return ready
