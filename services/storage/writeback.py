"""Begin to write a file to the disk while more of it comes, so that its fsync finds little left to do."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

# Linux, sync_file_range(2).
_WRITE = 2


def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function


_call = _sync_file_range()


def begin_writeback(descriptor: int, offset: int, length: int) -> None:
    """Start to write a range to the disk without waiting for it; nothing where the system knows no such call.

    It is a wish: whether bytes came to the disk, and what failed, is for fsync to tell.
    """
    if _call is not None:
        _call(descriptor, offset, length, _WRITE)
