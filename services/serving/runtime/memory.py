"""This process's memory: how much is resident, and giving back what the allocator keeps."""

import ctypes
import os


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


KEPT_BYTES = 128 << 20
"""Freed memory that the allocator may keep for the next run."""
_LARGE_BYTES = 32 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_for_the_next_run() -> bool:
    """Have glibc keep freed memory up to `KEPT_BYTES` rather than return and fetch it anew at every run of a model; an
    unload gives it back (`give_back`). Whether it will; False without glibc.

    Without ONNX Runtime's arena every run allocates its activations, and by default the larger ones go to the system
    and back, each page being cleared again. Source: mallopt(3); the largest M_MMAP_THRESHOLD is 32 MiB.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))


def give_back() -> bool:
    """Have glibc return freed memory to the system (`malloc_trim(0)`); whether there was any. False without glibc.

    It visits every arena under its lock, so call it in a thread. Source: malloc_trim(3).
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return False
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return bool(trim(0))
