"""What does the S3 store hold, seen by somebody who does not trust Backsight? A small signed client of its own.

Only what the checks need: put, get, delete, list objects, list and abort pending uploads. Path style, signature
version 4, one connection a request. It talks to the store itself, never through the fault proxy.
"""
import datetime
import hashlib
import hmac
import http.client
import os
import urllib.parse
import xml.etree.ElementTree
from dataclasses import dataclass

TIMEOUT_SECONDS = 30
EMPTY = hashlib.sha256(b"").hexdigest()


class S3Error(Exception):
    """The store said no."""


@dataclass(frozen=True)
class S3Object:
    """A listed object."""

    key: str
    bytes: int


class S3:
    """One bucket of one store."""

    def __init__(self, endpoint, bucket, access_key, secret_key, region="us-east-1"):
        self.endpoint, self.bucket, self.region = endpoint, bucket, region
        self.access_key, self.secret_key = access_key, secret_key
        self.host = urllib.parse.urlsplit(endpoint).netloc

    @classmethod
    def of_environment(cls, environment=os.environ):
        """The store that `.ci/seaweedfs.py` started around us, or `None`."""
        if not environment.get("AWS_ENDPOINT_URL"):
            return None
        return cls(
            environment["AWS_ENDPOINT_URL"],
            environment.get("BACKSIGHT_TEST_BUCKET", "backsight"),
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            environment.get("AWS_REGION", "us-east-1"),
        )

    def put(self, key, body):
        self._expect(self._send("PUT", key, body=body), 200)

    def put_file(self, key, path):
        self.put(key, path.read_bytes())

    def get(self, key):
        """The object's bytes; `None` when it is not there."""
        status, body = self._send("GET", key)
        if status == 404:
            return None
        return self._expect((status, body), 200)

    def delete(self, key):
        self._expect(self._send("DELETE", key), 200, 204, 404)

    def list(self, prefix):
        """Every object below a prefix, in key order."""
        found, token = [], None
        while True:
            query = {"list-type": "2", "prefix": prefix, "max-keys": "1000"}
            if token:
                query["continuation-token"] = token
            tree = self._xml(self._send("GET", "", query))
            found += [S3Object(_text(item, "Key"), int(_text(item, "Size"))) for item in _all(tree, "Contents")]
            token = _text(tree, "NextContinuationToken")
            if not token:
                return sorted(found, key=lambda item: item.key)

    def delete_all(self, prefix):
        for item in self.list(prefix):
            self.delete(item.key)

    def uploads(self, prefix):
        """Pending multipart uploads below a prefix: (key, upload id)."""
        tree = self._xml(self._send("GET", "", {"uploads": "", "prefix": prefix, "max-uploads": "1000"}))
        found = [(_text(item, "Key"), _text(item, "UploadId")) for item in _all(tree, "Upload")]
        return [(key, upload) for key, upload in found if key.startswith(prefix)]

    def abort(self, key, upload):
        self._expect(self._send("DELETE", key, {"uploadId": upload}), 200, 204, 404)

    def _xml(self, answer):
        return xml.etree.ElementTree.fromstring(self._expect(answer, 200))

    @staticmethod
    def _expect(answer, *wanted):
        status, body = answer
        if status not in wanted:
            raise S3Error(f"the store answered {status}: {body[:300].decode(errors='replace')}")
        return body

    def _send(self, method, key, query=None, body=b""):
        path = "/" + urllib.parse.quote(f"{self.bucket}/{key}" if key else f"{self.bucket}/", safe="/-_.~")
        pairs = sorted((query or {}).items())
        text = "&".join(f"{_quote(name)}={_quote(value)}" for name, value in pairs)
        headers = self._signed(method, path, text, body)
        connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path + (f"?{text}" if text else ""), body=body or None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _signed(self, method, path, query, body):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        payload = hashlib.sha256(body).hexdigest() if body else EMPTY
        headers = {"host": self.host, "x-amz-content-sha256": payload, "x-amz-date": now}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers


def _quote(text):
    return urllib.parse.quote(text, safe="-_.~")


def _all(tree, name):
    return [item for item in tree.iter() if item.tag.rpartition("}")[2] == name]


def _text(tree, name):
    for item in tree:
        if item.tag.rpartition("}")[2] == name:
            return item.text
    return None
