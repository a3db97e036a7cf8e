import asyncio
import hashlib

import pytest

from slipway.repository.remote.listing import RemoteObject
from slipway.repository.remote.s3 import S3Store

CONTENT = b"weights"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
OTHER = "0" * 32
MISMATCH = "it does not have the MD5 checksum that is listed for it"
CHANGED = "it was changed while it was copied"


class Store(S3Store):
    """A store that knows only what the service says of an object now."""

    def __init__(self, head):
        self._answer = head

    async def _head(self, _):
        assert self._answer is not None, "the service was asked without need"
        return self._answer


@pytest.mark.parametrize(
    ("tag", "now", "fault"),
    [
        (MD5, None, ""),
        (OTHER, {"ETag": f'"{OTHER}"'}, MISMATCH),
        (OTHER, {"ETag": f'"{OTHER}"', "ServerSideEncryption": "AES256"}, MISMATCH),
        (OTHER, {"ETag": f'"{OTHER}"', "ServerSideEncryption": "aws:kms"}, ""),
        (OTHER, {"ETag": f'"{OTHER}"', "SSECustomerAlgorithm": "AES256"}, ""),
        (OTHER, {"ETag": f'"{MD5}"', "ServerSideEncryption": "aws:kms"}, CHANGED),
        (f"{OTHER}-2", {"ETag": f'"{OTHER}-2"'}, ""),
        (f"{OTHER}-2", {"ETag": f'"{OTHER}-3"'}, CHANGED),
    ],
)
def test_an_etag_is_compared_as_what_it_is(tmp_path, tag, now, fault):
    (tmp_path / "x").write_bytes(CONTENT)
    each = RemoteObject("m/x", "bucket/m/x", len(CONTENT), tag=tag)
    assert asyncio.run(Store(now).fault(each, tmp_path / "x")) == fault
