"""What glibc's allocator does with freed memory. Each is a no-op where there is no glibc."""

import ctypes
import os

# parameters of mallopt, from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def share_one_heap() -> None:
    """Have all threads share one heap, here and in processes started from here.

    To be called before there are threads. By default each gets one of eight heaps a core, and what
    one thread frees no other uses: as shards come to other threads, they would take that much more.
    """
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    _glibc("mallopt", _M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Keep freed memory: an encoder asks for the same large blocks again and again.

    Worth a factor of 1.3 to 1.5 here, where each batch would otherwise fault in fresh pages. In one
    heap: in those of threads glibc keeps no block above 64 MB, of which a batch has several.
    """
    _glibc("mallopt", _M_MMAP_THRESHOLD, 1 << 30)
    _glibc("mallopt", _M_TRIM_THRESHOLD, (1 << 31) - 1)
    share_one_heap()


def release_freed_memory() -> None:
    """Give freed memory back to the system."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    found = getattr(ctypes.CDLL(None), function, None) if os.name == "posix" else None
    if found is not None:
        found(*arguments)
