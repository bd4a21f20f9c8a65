"""Memory that has been used before, in place of new memory, which takes longer to get than most work on it."""

from __future__ import annotations

from functools import cache

import torch

# Bytes up to which glibc takes blocks from what it keeps, and half of what it keeps, after a block as large was freed.
MOST = 32 * 2**20
BESIDE = 2**16  # bytes that it adds to a block, at most


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to 64 MiB of memory that has been freed, for the next who asks, until the process ends.

    Else glibc gives it back to the system, and takes it anew: blocks of more than 128 kB at once, and what lies free at
    the end in excess of 128 kB; or of the largest block that was ever freed, and twice that, up to 32 and 64 MiB. New
    memory costs a fault for every page of 4 kB, a microsecond or more, which can be half of the time of a small
    network's kernel. So a large block is freed here, once a process. It is never touched, and costs nothing; other C
    libraries are not changed by it.

    Examples:
        >>> keep_freed_memory()
    """
    torch.empty(MOST - BESIDE, dtype=torch.uint8)
