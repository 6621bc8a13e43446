"""Parts of a record batch that hold no more than they say."""

import pyarrow as pa


def part(rows: pa.RecordBatch, start: int, count: int) -> pa.RecordBatch:
    """`count` rows from `start`, with their own texts alone.

    A slice keeps every dictionary whole, so half of a batch with long texts would be as large as all of it.

    >>> texts = pa.record_batch([pa.array(["a" * 1000, "b" * 1000]).dictionary_encode()], names=["x"])
    >>> texts.slice(0, 1).nbytes > 2000, part(texts, 0, 1).nbytes < 1100, part(texts, 1, 1).to_pylist()[0]["x"][0]
    (True, True, 'b')
    """
    cut = rows.slice(start, count)
    columns = [_own(column) if pa.types.is_dictionary(column.type) else column for column in cut.columns]
    return pa.record_batch(columns, schema=cut.schema)


def _own(column: pa.DictionaryArray) -> pa.DictionaryArray:
    encoded = column.cast(column.type.value_type).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(column.type.index_type), encoded.dictionary)
