"""What a piece of work took of this process's memory: measured, not guessed.

Two figures. `resident_bytes` is the difference of the resident set. Before each of the two readings the allocator
gives back what nobody uses: without that, a load that found room in freed memory would seem to cost nothing, and the
buffers that reading a graph needs for a moment would count for ever. `allocated_bytes` is the difference of what the C
library's allocator has handed out and not got back; ONNX Runtime allocates there, and its Python interface tells
nothing of its own arenas. Loads take turns, so no other load is in either figure; what requests allocate and keep in
the same moment is in both.

Source: malloc_trim(3), mallinfo(3), proc_pid_statm(5).
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from services.serving.runtime.memory import give_back, resident_bytes


@dataclass
class Footprint:
    """Bytes that a piece of work has taken. `allocated_bytes` is None where the C library does not tell."""

    resident_bytes: int = 0
    allocated_bytes: int | None = None


@contextmanager
def measured() -> Iterator[Footprint]:
    """The footprint of what is done within; filled in at the end. Takes some 10 ms for every 100 MB that are given
    back, without holding the interpreter's lock."""
    taken = Footprint()
    give_back()
    resident, allocated = resident_bytes(), allocated_bytes()
    yield taken
    give_back()
    taken.resident_bytes = max(resident_bytes() - resident, 0)
    now = allocated_bytes()
    if allocated is not None and now is not None:
        taken.allocated_bytes = max(now - allocated, 0)


def allocated_bytes() -> int | None:
    """What the C library's allocator has handed out; None where it does not tell (it is not glibc 2.33 or later)."""
    tell = getattr(_libc(), "mallinfo2", None)
    if tell is None:
        return None
    tell.restype = _MallInfo
    told = tell()
    return int(told.uordblks + told.hblkhd)


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
