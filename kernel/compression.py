"""Smaller bytes: bodies of calls and records of results above a size.

Unpacking is bounded, because some bytes become a thousand times as many, and who sends them need not be a friend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from kernel.errors import ConfigError, DecodeError

#: A body may become so many times as large as the largest message; the caller refuses what every worker would.
MOST_GROWTH = 16
#: Most bytes that a record may become. Larger ones are not packed.
MOST_RECORD = 256 * 1024 * 1024
#: Memory that unpacking itself may take where the format lets the bytes say how much, in bytes.
_MOST_WINDOW = 128 * 1024 * 1024
#: Begins a packed record: no MessagePack does. Then the name of the method, a zero byte, and the packed bytes.
PACKED = b"\xc1"
#: Other names of the same.
_ALSO: Mapping[str, str] = {"bzip2": "bz2", "xz": "lzma", "zstandard": "zstd", "deflate": "zlib"}

Pack = Callable[[bytes], bytes]


class Method:
    """One way to pack bytes. Its module is imported when it is first used: most processes pack nothing."""

    __slots__ = ("_new", "name", "pack")

    def __init__(self, name: str, pack: Pack, new: Callable[[], Any]) -> None:
        """`new` makes what unpacks one piece: `decompress(data, most)`, and `eof` once its end was met."""
        self.name = name
        self.pack = pack
        self._new = new

    def unpack(self, data: bytes, most: int) -> bytes:
        """The bytes as they were; `DecodeError` for damaged ones, and before they are more than `most`."""
        unpacker = self._new()
        try:
            value: bytes = unpacker.decompress(data, most + 1)
        except (
            Exception
        ) as error:  # each library has a class of its own, and some raise MemoryError for a header that lies
            raise DecodeError(f"damaged {self.name}: {error}") from None
        if len(value) > most:
            raise DecodeError(f"{len(data)} bytes of {self.name} become more than {most}: refused")
        if not unpacker.eof or unpacker.unused_data:
            raise DecodeError(f"damaged {self.name}: {'it goes on after its end' if unpacker.eof else 'it has no end'}")
        return value


def _zlib() -> Method:
    import zlib

    return Method("zlib", zlib.compress, zlib.decompressobj)


def _gzip() -> Method:
    import zlib

    window = zlib.MAX_WBITS | 16  # zlib's own words for the frame of gzip

    def pack(data: bytes) -> bytes:
        packer = zlib.compressobj(wbits=window)
        packed: bytes = packer.compress(data) + packer.flush()
        return packed

    return Method("gzip", pack, partial(zlib.decompressobj, wbits=window))


def _bz2() -> Method:
    import bz2

    return Method("bz2", bz2.compress, bz2.BZ2Decompressor)


def _lzma() -> Method:
    import lzma

    return Method("lzma", partial(lzma.compress, preset=1), partial(lzma.LZMADecompressor, memlimit=_MOST_WINDOW))


def _zstd() -> Method:
    for place in ("compression.zstd", "backports.zstd"):  # the standard library has it from 3.14 on
        try:
            zstd = import_module(place)
        except ImportError:
            continue
        return Method("zstd", zstd.compress, zstd.ZstdDecompressor)
    raise ConfigError("compression zstd needs Python 3.14 or the package backports.zstd: pip install backports.zstd")


_METHODS: Mapping[str, Callable[[], Method]] = {
    "zlib": _zlib, "gzip": _gzip, "bz2": _bz2, "lzma": _lzma, "zstd": _zstd,
}  # fmt: skip
_made: dict[str, Method] = {}


def method(name: str) -> Method:
    """The method of this name; `ConfigError` for one that is not there."""
    known = _made.get(name)
    if known is None:
        make = _METHODS.get(_ALSO.get(name, name))
        if make is None:
            raise ConfigError(f"unknown compression {name!r:.40}: known are {', '.join(_METHODS)}")
        known = _made[name] = make()
    return known


def known(name: object) -> bool:
    """Whether there is a method of this name, here or on another machine."""
    return isinstance(name, str) and (name in _METHODS or name in _ALSO)


def packer(name: str, above: int) -> Pack | None:
    """What packs the records of results larger than `above` bytes; None for no method."""
    if not name:
        return None
    by = method(name)
    head = PACKED + by.name.encode() + b"\0"

    def pack(value: bytes) -> bytes:
        if not above < len(value) <= MOST_RECORD:
            return value
        packed = head + by.pack(value)
        return packed if len(packed) < len(value) else value

    return pack


def unpacked(value: bytes) -> bytes:
    """A packed record as it was; `DecodeError` for a damaged one."""
    name, end, _ = value[1:32].partition(b"\0")
    if not end:
        raise DecodeError("damaged packed record")
    try:
        by = method(name.decode("ascii"))
    except (ConfigError, ValueError) as error:
        raise DecodeError(f"a packed record cannot be read here: {error}") from None
    return by.unpack(value[len(name) + 2 :], MOST_RECORD)
