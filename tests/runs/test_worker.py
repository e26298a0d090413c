"""The start of worker processes."""

import signal
import threading

from ardae_rl.runs.worker import ctrl_c_ignored


def test_ctrl_c_is_ignored_within_the_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ctrl_c_ignored():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before


def test_threads_leave_it_as_it_is() -> None:
    """Only the main thread may set signal handlers."""
    seen = []

    def run() -> None:
        with ctrl_c_ignored():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
