"""Small stand-ins for Google's and Azure's storage, which list and read one bucket as the real services do.

Sources: Google Cloud Storage JSON API v1, "Objects: list" and "Objects: get"; Azure Blob service REST API, "List Blobs"
and "Get Blob". Pages have two entries, so that every listing has several.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from email.utils import formatdate
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import google_crc32c

from tests.kits.web_services import Asked, Reply, Service

BUCKET = "bucket"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = b64encode(b"hunter2-is-the-key-of-the-account").decode()
_PAGE = 2
_MODIFIED = 1_790_000_000


class Contents(dict[str, bytes]):
    """Objects by key; those in `composite` have no MD5 checksum."""

    def __init__(self) -> None:
        super().__init__()
        self.composite: set[str] = set()

    def page(self, prefix: str, marker: str) -> tuple[list[str], str]:
        """Return the keys of one page and the marker of the next, "" for none."""
        keys = sorted(key for key in self if key.startswith(prefix))
        begin = int(marker or "0")
        following = str(begin + _PAGE) if begin + _PAGE < len(keys) else ""
        return keys[begin : begin + _PAGE], following

    def md5(self, key: str) -> str:
        """Return the MD5 checksum as the services write it, "" if the object has none."""
        digest = hashlib.md5(self[key], usedforsecurity=False).digest()
        return "" if key in self.composite else b64encode(digest).decode()

    def tag(self, key: str) -> str:
        """Return what changes with the content."""
        return str(int.from_bytes(hashlib.sha256(self[key]).digest()[:6], "big"))


def google_storage(contents: Contents) -> Service:
    """Return a stand-in for Google's storage."""

    def described(key: str) -> dict[str, str]:
        fields = {
            "kind": "storage#object",
            "bucket": BUCKET,
            "name": key,
            "size": str(len(contents[key])),
            "generation": contents.tag(key),
            "metageneration": "1",
            "updated": "2026-09-21T13:33:20.000Z",
            "crc32c": b64encode(google_crc32c.Checksum(contents[key]).digest()).decode(),
        }
        return fields | ({"md5Hash": contents.md5(key)} if contents.md5(key) else {})

    def answer(asked: Asked) -> Reply:
        url = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        _, found, rest = url.path.partition(f"/storage/v1/b/{BUCKET}/o")
        key = unquote(rest.removeprefix("/"))
        if found and not rest:
            keys, following = contents.page(query.get("prefix", ""), query.get("pageToken", ""))
            listed = {"kind": "storage#objects", "items": [described(each) for each in keys]}
            return _json(listed | ({"nextPageToken": following} if following else {}))
        if not found or key not in contents:
            return Reply(404, {"Content-Type": "application/json"}, b'{"error": {"code": 404, "message": "Not Found"}}')
        if query.get("alt") == "media":
            return Reply(200, {"Content-Type": "application/octet-stream"}, contents[key])
        return _json(described(key))

    return Service(answer)


def azure_storage(contents: Contents) -> Service:
    """Return a stand-in for Azure's storage."""

    def properties(key: str) -> dict[str, str]:
        fields = {
            "Last-Modified": formatdate(_MODIFIED, usegmt=True),
            "Etag": f'"0x{contents.tag(key)}"',
            "Content-Length": str(len(contents[key])),
            "Content-Type": "application/octet-stream",
        }
        return fields | ({"Content-MD5": contents.md5(key)} if contents.md5(key) else {})

    def blob(key: str) -> str:
        lines = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in properties(key).items())
        return f"<Blob><Name>{escape(key)}</Name><Properties>{lines}<BlobType>BlockBlob</BlobType></Properties></Blob>"

    def answer(asked: Asked) -> Reply:
        url = urlsplit(asked.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        container, _, key = unquote(url.path).removeprefix(f"/{ACCOUNT}/").partition("/")
        if container != BUCKET:
            return Reply(404, {"x-ms-error-code": "ContainerNotFound"})
        if query.get("comp") == "list":
            keys, following = contents.page(query.get("prefix", ""), query.get("marker", ""))
            blobs = "".join(map(blob, keys))
            page = f"<Prefix>{escape(query.get('prefix', ''))}</Prefix><Blobs>{blobs}</Blobs>"
            page = f"{page}<NextMarker>{following}</NextMarker>"
            page = f"<EnumerationResults ContainerName='{BUCKET}'>{page}</EnumerationResults>"
            return Reply(200, {"Content-Type": "application/xml"}, f"<?xml version='1.0'?>{page}".encode())
        if key not in contents:
            return Reply(404, {"x-ms-error-code": "BlobNotFound"})
        headers = properties(key) | {"x-ms-blob-type": "BlockBlob"}
        size = len(contents[key])
        given = next((value for name, value in asked.headers.items() if name.lower() in ("x-ms-range", "range")), "")
        if asked.method == "HEAD" or not given:
            return Reply(200, headers, contents[key])
        begin, _, end = given.removeprefix("bytes=").partition("-")
        if int(begin) >= size:
            return Reply(416, {"x-ms-error-code": "InvalidRange"})
        part = contents[key][int(begin) : int(end) + 1]
        where = f"bytes {begin}-{int(begin) + len(part) - 1}/{size}"
        return Reply(206, headers | {"Content-Length": str(len(part)), "Content-Range": where}, part)

    return Service(answer)


def connection_string(service: Service) -> str:
    """Return what names a stand-in for Azure's storage."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
        f"BlobEndpoint=http://{service.address}/{ACCOUNT};"
    )


def _json(value: object) -> Reply:
    return Reply(200, {"Content-Type": "application/json"}, json.dumps(value).encode())
