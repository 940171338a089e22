"""The frames of many messages as one piece of bytes.

pika writes each frame of each message by itself, three system calls and a dozen Python calls for one message. A batch
mostly goes to one queue, so that of its frames only the bodies differ.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from pika import BasicProperties, frame, spec

#: Exchange, routing key, properties, body.
Message = tuple[str, str, BasicProperties, bytes]

#: Frames that are kept because the next message probably has the same ones; routing keys of delays are all different.
MOST: Final = 1000
#: Type, channel and length of a frame, before its payload and the octet that ends it (AMQP 0-9-1, section 4.2.3).
_BODY: Final = struct.Struct(">BHI")
_END: Final = bytes((spec.FRAME_END,))


class Frames:
    """Writes messages for one channel."""

    def __init__(self, channel: int, most: int) -> None:
        """`most`: bytes of a body that fit into one frame."""
        self._channel = channel
        self._most = most
        self._methods: dict[tuple[str, str, bool], bytes] = {}
        self._headers: dict[tuple[int, int], bytes] = {}

    def of(self, messages: Iterable[Message], mandatory: bool) -> bytes:
        """The bytes that publish the messages."""
        parts: list[bytes] = []
        methods, headers, channel, most = self._methods, self._headers, self._channel, self._most
        for exchange, key, properties, body in messages:
            size = len(body)
            method = methods.get((exchange, key, mandatory))
            if method is None:
                method = self._method(exchange, key, mandatory)
            header = headers.get((properties.priority or 0, size)) if properties.delivery_mode else None
            if header is None:
                header = self._header(properties, size)
            if size <= most:
                parts += (
                    (method, header, _BODY.pack(spec.FRAME_BODY, channel, size), body, _END)
                    if size
                    else (
                        method,
                        header,
                    )
                )
            else:
                parts += (method, header)
                for start in range(0, size, most):
                    part = body[start : start + most]
                    parts += (_BODY.pack(spec.FRAME_BODY, channel, len(part)), part, _END)
        return b"".join(parts)

    def _method(self, exchange: str, key: str, mandatory: bool) -> bytes:
        publish = spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory)
        method: bytes = frame.Method(self._channel, publish).marshal()
        if len(self._methods) >= MOST:
            self._methods.clear()
        self._methods[exchange, key, mandatory] = method
        return method

    def _header(self, properties: BasicProperties, size: int) -> bytes:
        header: bytes = frame.Header(self._channel, size, properties).marshal()
        if len(self._headers) >= MOST:
            self._headers.clear()
        if properties.delivery_mode:
            self._headers[properties.priority or 0, size] = header
        return header
