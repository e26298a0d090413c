"""The start of worker processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch as th


@contextmanager
def ctrl_c_ignored() -> Iterator[None]:
    """Let processes that are started in the block ignore Ctrl-C from the beginning, even while they import modules."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start_worker() -> None:
    """Use one thread for torch, leave Ctrl-C to the parent process, and end when that ends.

    A worker that outlives a killed command would write into the folders of the command that resumes its work.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    th.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
