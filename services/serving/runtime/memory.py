"""This process's memory: how much is resident, and giving back what the allocator keeps."""

import ctypes
import os


def resident_bytes() -> int:
    """Memory of this process that is in RAM now."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


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
