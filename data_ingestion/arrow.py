"""Arrow's columns as NumPy's and back, through their buffers: pyarrow's own ways import pandas, which is 40 MB and half a second.

Arrow takes its memory from the system's allocator: its own keeps what it once had, which for a file read in batches is most of all.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

pa.set_memory_pool(pa.system_memory_pool())
_KINDS = {pa.float64(): np.float64, pa.int64(): np.int64, pa.int32(): np.int32}


def numbers(array: Any, missing: float) -> npt.NDArray[Any]:
    """An Array of float64, int64 or int32, with `missing` where it has nothing. A view of it where it has everything."""
    size, offset = len(array), array.offset
    valid, data = array.buffers()
    kind = _KINDS[array.type]
    if data is None:
        return np.full(size, missing, kind)
    found: npt.NDArray[Any] = np.frombuffer(data, kind, offset + size)[offset:]
    return np.where(_bits(valid, offset, size), found, np.full(1, missing, kind)) if array.null_count else found


def flags(array: Any, *, missing: bool) -> npt.NDArray[np.bool_]:
    """An Array of booleans."""
    size, offset = len(array), array.offset
    valid, data = array.buffers()
    if data is None:
        return np.full(size, missing)
    found = _bits(data, offset, size)
    return np.where(_bits(valid, offset, size), found, missing) if array.null_count else found


def column(values: npt.NDArray[Any], kind: Any) -> Any:
    """An Array of this type over the numbers, whose bytes are those of the type."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def texts(values: Sequence[str]) -> Any:
    """An Array of strings."""
    data = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(data), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(data))])


def release() -> None:
    """Give the system back what is no longer in use, after much was."""
    pa.default_memory_pool().release_unused()


def _bits(data: Any, offset: int, size: int) -> npt.NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(data, np.uint8), count=offset + size, bitorder="little")[offset:].astype(np.bool_)
