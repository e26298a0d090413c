"""Memory of a CPU process."""

import torch as th


def keep_freed_memory() -> None:
    """On a CPU with glibc: have temporaries of a few megabytes served from memory that the process keeps.

    The C library gives memory back to the system beyond a threshold, and sets it by the largest block freed so far
    (mallopt(3), M_MMAP_THRESHOLD). Without a large one, networks of a usual size lie above it: the system then takes
    the pages of their hidden units back after every gradient step, and clears new ones for the next.
    """
    th.empty(24 * 2**20, dtype=th.uint8)
