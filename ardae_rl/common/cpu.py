"""Memory of a CPU process: chunks that fit its caches, and pages that it keeps."""

from collections.abc import Iterator

import torch as th

ROWS_IN_CACHE = 1024


def chunk_length(rows_per_item: int, n_items: int, device: th.device) -> int:
    """Return how many items to process at once, so that the cache of a CPU holds their hidden units.

    Larger temporaries, of which a pass has many, make the system map, clear and reclaim memory each time. On other
    devices, and in code that torch compiles, all items are processed at once.

    :param rows_per_item: Rows that each item has in the network's matrix products.
    :param n_items: Number of items.
    """
    if device.type != "cpu" or th.compiler.is_compiling() or rows_per_item * n_items <= ROWS_IN_CACHE:
        return n_items
    return max(1, ROWS_IN_CACHE // rows_per_item)


def cached_chunks(points: th.Tensor, context: th.Tensor) -> Iterator[tuple[th.Tensor, th.Tensor]]:
    """Yield parts of points (batch, n, dim) and contexts (batch, context_dim): along n if the batch size is 1."""
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
    block freed so far (mallopt(3), M_MMAP_THRESHOLD). Until then, each gradient step requests the pages of its hidden
    units from the system again, which clears them. This affects the whole process, so it is for programs to call; the
    library never does.
    """
    th.empty(24 * 2**20, dtype=th.uint8)
