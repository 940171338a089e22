"""Payloads in S3, for messages that are too large for a queue: the body names the object.

The object is written before the message and deleted after it. What a crash leaves between the two is an object that
nobody needs; a lifecycle rule of the bucket clears those away.
"""

from __future__ import annotations

import uuid

from kernel.errors import PortError
from kernel_sqs.faults import code_of
from kernel_sqs.service import Service

#: Largest payload in bytes. S3 takes far more, but every delivery holds the payload in memory.
LARGEST = 64 * 1024 * 1024
_ABSENT = frozenset({"NoSuchKey", "404"})


class Offload:
    """A folder of a bucket."""

    def __init__(self, service: Service, bucket: str, folder: str) -> None:
        self._service = service
        self._bucket = bucket
        self._keys = f"{folder.strip('/')}/" if folder.strip("/") else ""
        self._start = f"s3://{bucket}/{self._keys}"

    def put(self, payload: bytes) -> str:
        """Store a payload; returns the body that stands for it. `:` is no base64, so no payload looks like it."""
        key = f"{self._keys}{uuid.uuid4().hex}"
        self._service.s3("put_object", key, Bucket=self._bucket, Key=key, Body=payload)
        return f"s3://{self._bucket}/{key}"

    def key(self, body: str) -> str:
        """The key that a body names; "" for every other body, those that name a place outside of the folder too."""
        name = body.removeprefix(self._start)
        return self._keys + name if name != body and name.isalnum() and name.isascii() else ""

    def get(self, key: str) -> bytes | None:
        """The payload; None when the object is not there."""
        try:
            answer = self._service.s3("get_object", key, Bucket=self._bucket, Key=key)
            return bytes(answer["Body"].read())
        except PortError as error:
            if error.__cause__ is not None and code_of(error.__cause__) in _ABSENT:
                return None
            raise

    def delete(self, key: str) -> None:
        """Delete a payload. No error when it is gone."""
        self._service.s3("delete_object", key, Bucket=self._bucket, Key=key)
