"""A server that speaks the part of Google Cloud Storage's XML API that backups need.

async with google_server(directory) as server:
    ObjectStore("gs://backups/site", work)   # with `server.environment` in the environment

Paths, headers, parts and answers are those of Google's "XML API reference". Each call must have
the token that a service account signs for itself (RFC 7523), checked with its public key.
"""

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.served import served

ACCOUNT = "backups@example.iam.gserviceaccount.com"
BUCKET = "backups"


class GoogleServer(NamedTuple):
    """One server with the bucket `backups`."""

    environment: dict[str, str]
    account: dict[str, str]
    objects: dict[str, bytes]


class _Bucket:
    def __init__(self, public: rsa.RSAPublicKey) -> None:
        self._public = public
        self._parts: dict[str, dict[int, bytes]] = {}
        self.objects: dict[str, bytes] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any call."""
        self._check(request)
        if request.match_info["bucket"] != BUCKET:
            return _error(404, "NoSuchBucket")
        name = request.match_info["name"]
        if request.method == "GET" and not name:
            return self._listed(request.query.get("prefix", ""))
        if request.method == "PUT":
            return await self._put(request, name)
        if request.method == "POST":
            return await self._post(request, name)
        if name not in self.objects:
            return _error(404, "NoSuchKey")
        if request.method == "DELETE":
            del self.objects[name]
            return web.Response(status=204)
        body = self.objects[name]
        part = body[request.http_range]
        status = 206 if "Range" in request.headers else 200
        headers = _about(body)
        if status == 206:
            start = request.http_range.start
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(body)}"
        return web.Response(status=status, body=part, headers=headers)

    def _check(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            claims = jwt.decode(token, self._public, algorithms=["RS256"])
        except jwt.InvalidTokenError:
            raise web.HTTPUnauthorized(text="<Error><Code>AuthenticationRequired</Code></Error>")  # noqa: B904
        assert (scheme, claims["iss"], claims["sub"]) == ("Bearer", ACCOUNT, ACCOUNT)

    def _listed(self, prefix: str) -> web.Response:
        found = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(body)}</Size>"
            f"<LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            f"<ETag>{_etag(body)}</ETag></Contents>"
            for name, body in sorted(self.objects.items())
            if name.startswith(prefix)
        )
        return _xml(f"<ListBucketResult>{found}</ListBucketResult>")

    async def _put(self, request: web.Request, name: str) -> web.Response:
        body = await request.read()
        if "uploadId" in request.query:
            parts = self._parts[request.query["uploadId"]]
            parts[int(request.query["partNumber"])] = body
        else:
            self.objects[name] = body
        return web.Response(headers=_about(body))

    async def _post(self, request: web.Request, name: str) -> web.Response:
        if "uploads" in request.query:
            upload = uuid.uuid4().hex
            self._parts[upload] = {}
            begun = f"<UploadId>{upload}</UploadId>"
            return _xml(f"<InitiateMultipartUploadResult>{begun}</InitiateMultipartUploadResult>")
        parts = self._parts.pop(request.query["uploadId"])
        wanted = ElementTree.fromstring(await request.text())  # noqa: S314 - of the part tested
        numbers = [int(each.text or "") for each in wanted.iter() if each.tag.endswith("Number")]
        body = b"".join(parts[number] for number in numbers)
        self.objects[name] = body
        ended = f"<ETag>{_etag(body)}</ETag>"
        return _xml(f"<CompleteMultipartUploadResult>{ended}</CompleteMultipartUploadResult>")


@asynccontextmanager
async def google_server(directory: Path) -> AsyncIterator[GoogleServer]:
    """A server, and the file of a service account in `directory`."""
    key = await asyncio.to_thread(rsa.generate_private_key, 65537, 2048)
    bucket = _Bucket(key.public_key())
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{bucket}{slash:/?}{name:.*}", bucket.answer)
    async with served(app) as url:
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        account = {
            "type": "service_account",
            "private_key": pem.decode(),
            "private_key_id": "1",
            "client_email": ACCOUNT,
            "gcs_base_url": url,
        }
        file = directory / "account.json"
        await asyncio.to_thread(file.write_text, json.dumps(account))
        environment = {"GOOGLE_SERVICE_ACCOUNT": str(file), "AWS_ALLOW_HTTP": "true"}
        yield GoogleServer(environment, account, bucket.objects)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _about(body: bytes) -> dict[str, str]:
    return {
        "ETag": _etag(body),
        "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
        "x-goog-generation": "1",
    }


def _xml(text: str) -> web.Response:
    return web.Response(text=f'<?xml version="1.0"?>{text}', content_type="application/xml")


def _error(status: int, code: str) -> web.Response:
    text = f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")
