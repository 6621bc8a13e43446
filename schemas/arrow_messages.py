"""What an Arrow IPC stream says of itself before anything of it is unpacked.

A message's metadata is a flatbuffer (`Message.fbs` and `Schema.fbs` of the Arrow columnar format 1.5). pyarrow reads
all of it and shows none, so the way to the one field that matters is followed here by hand.
"""

import struct

import pyarrow as pa

_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_COMPRESSION = 3


def is_compressed(stream: pa.Buffer) -> bool:
    """Whether a body up to the first record batch is compressed. Raises what pyarrow does, or `ValueError`."""
    reader = pa.ipc.MessageReader.open_stream(stream)
    while True:
        message = reader.read_next_message()
        try:
            if message.type in ("record batch", "dictionary") and _compressed(
                memoryview(message.metadata), message.type
            ):
                return True
        except struct.error as error:
            raise ValueError(f"the metadata of a {message.type} message ends early") from error
        if message.type == "record batch":
            return False


def _compressed(metadata: memoryview, kind: str) -> bool:
    table = _table(metadata, struct.unpack_from("<I", metadata, 0)[0], _MESSAGE_HEADER)
    if kind == "dictionary" and table is not None:
        table = _table(metadata, table, _DICTIONARY_DATA)
    return table is not None and _field(metadata, table, _BATCH_COMPRESSION) is not None


def _table(metadata: memoryview, table: int, field: int) -> int | None:
    """Where the table lies that `field` of `table` refers to."""
    place = _field(metadata, table, field)
    return None if place is None else place + struct.unpack_from("<I", metadata, place)[0]


def _field(metadata: memoryview, table: int, field: int) -> int | None:
    """Where `field` (its number in the schema) of the table at `table` lies; None when it is not set."""
    directory = table - struct.unpack_from("<i", metadata, table)[0]
    slot = 4 + 2 * field
    if directory < 0 or slot + 2 > struct.unpack_from("<H", metadata, directory)[0]:
        return None
    offset = struct.unpack_from("<H", metadata, directory + slot)[0]
    return table + offset if offset else None
