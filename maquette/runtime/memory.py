"""Tell the C library's allocator how a process that streams uses memory."""

from __future__ import annotations

import ctypes

# Numbers of mallopt(3) in glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def tune_for_streams() -> bool:
    """Keep the memory of messages for the next ones; False where there is no glibc.

    By default each buffer of 128 KiB and more is mapped for itself and given back at once, and the
    kernel clears its pages again for the next: that took half of the processor time of a server
    stream of 256 KiB messages (0.56 → 0.25 s per 200 MB). Few arenas keep what is held small.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    options = ((_M_MMAP_THRESHOLD, 8 << 20), (_M_TRIM_THRESHOLD, 16 << 20), (_M_ARENA_MAX, 4))
    done = [mallopt(option, value) for option, value in options]
    return all(done)
