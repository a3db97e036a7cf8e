"""A real S3 service in this process: moto's server, with a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECRET = "hunter2-is-my-secret-key"  # noqa: S105  of a service that checks none
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "AKIATHISISNOKEYATALL",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Bucket:
    """A bucket of a service at `address` (host:port)."""

    def __init__(self, address: str, name: str) -> None:
        import boto3
        from botocore.config import Config

        self.address = address
        self.name = name
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=f"http://{address}",
            aws_access_key_id=VARIABLES["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=SECRET,
            region_name=VARIABLES["AWS_DEFAULT_REGION"],
            # Otherwise the library finds damage by a checksum that many services do not keep.
            config=Config(request_checksum_calculation="when_required"),
        )
        self.client.create_bucket(Bucket=name)

    def put(self, key: str, content: bytes, **settings: str) -> None:
        """Write an object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content, **settings)

    def put_parts(self, key: str, *parts: bytes) -> None:
        """Write an object in parts, each but the last at least 5 MiB."""
        place = {"Bucket": self.name, "Key": key}
        upload = self.client.create_multipart_upload(**place)["UploadId"]
        done = [
            {
                "PartNumber": number,
                "ETag": self.client.upload_part(**place, UploadId=upload, PartNumber=number, Body=part)["ETag"],
            }
            for number, part in enumerate(parts, 1)
        ]
        self.client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": done})

    def put_tree(self, directory: Path, prefix: str) -> None:
        """Write the files of a directory, and its empty directories as keys that end with a slash."""
        for path in sorted(directory.rglob("*")):
            key = f"{prefix}/{path.relative_to(directory).as_posix()}"
            if path.is_file():
                self.put(key, path.read_bytes())
            elif not any(path.iterdir()):
                self.put(f"{key}/", b"")

    def delete(self, *keys: str) -> None:
        """Remove objects."""
        for key in keys:
            self.client.delete_object(Bucket=self.name, Key=key)


@contextmanager
def s3_service() -> Iterator[str]:
    """Run a service; yield its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"{host}:{port}"
    finally:
        server.stop()
