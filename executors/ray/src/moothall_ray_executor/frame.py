"""Frames between the service and its bridge: one request or answer each, matched by a number."""

import struct
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from dataclasses import dataclass

# Length of what follows the head, number, length of the name in it.
_HEAD = struct.Struct("!IQH")


@dataclass(frozen=True, slots=True)
class Frame:
    """`name` is the call or, in an answer, what came of it."""

    number: int
    name: str
    packed: bytes


def write(writer: StreamWriter, frame: Frame) -> None:
    name = frame.name.encode()
    writer.write(_HEAD.pack(len(name) + len(frame.packed), frame.number, len(name)) + name + frame.packed)


async def read(reader: StreamReader) -> Frame | None:
    """None = the other side is gone."""
    try:
        length, number, named = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        body = await reader.readexactly(length)
    except (IncompleteReadError, ConnectionError):
        return None
    return Frame(number, body[:named].decode(), body[named:])
