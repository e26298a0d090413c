"""The start of processes that work for another one."""

import multiprocessing
import os
import signal
import threading

import torch as th


def start_worker() -> None:
    """Use one thread for torch, leave Ctrl-C to the parent process, and end with it.

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
