"""How processes that work for another one begin."""

import multiprocessing
import os
import threading

import torch as th


def start_worker() -> None:
    """One thread for torch, and an end with the parent.

    A worker that outlives a killed command would write into the folders of the one that goes on with its work.
    """
    th.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
