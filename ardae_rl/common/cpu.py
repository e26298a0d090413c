"""Memory of a CPU process: chunks that fit its caches, and pages that it keeps."""

from collections.abc import Iterator

import torch as th

ROWS_IN_CACHE = 1024


def chunk_length(rows_per_item: int, n_items: int, device: th.device) -> int:
    """Return how many items to process at once, so that the cache of a CPU holds their hidden units.

    Beyond the cache, each of the many temporaries of a pass is memory that the system maps, clears and takes back.
    On other devices, and in code that torch compiles, all items go at once.

    :param rows_per_item: Rows that each item has in the network's matrix products.
    :param n_items: Number of items.
    """
    if device.type != "cpu" or th.compiler.is_compiling() or rows_per_item * n_items <= ROWS_IN_CACHE:
        return n_items
    return max(1, ROWS_IN_CACHE // rows_per_item)


def cached_chunks(points: th.Tensor, context: th.Tensor) -> Iterator[tuple[th.Tensor, th.Tensor]]:
    """Yield parts of points (batch, n, dim) and contexts (batch, context_dim): along n where the batch is one."""
    batch_size, n_points, _ = points.shape
    if batch_size == 1:
        for part in points.split(chunk_length(1, n_points, points.device), dim=1):
            yield part, context
    else:
        n_contexts = chunk_length(n_points, batch_size, points.device)
        yield from zip(points.split(n_contexts), context.split(n_contexts), strict=True)


def keep_freed_memory() -> None:
    """On a CPU with glibc, serve temporaries of a few megabytes from memory that the process keeps.

    The C library returns larger blocks to the system when they are freed, and adapts the threshold to the largest
    block freed so far (mallopt(3), M_MMAP_THRESHOLD). Until it has, each gradient step asks the system for the pages
    of its hidden units anew, and the system clears them. It is a property of the whole process, so programs call this
    function, and the library does not.
    """
    th.empty(24 * 2**20, dtype=th.uint8)
