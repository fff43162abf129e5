"""Ctrl-C and SIGTERM as requests that a driver reads when it is ready for them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def terminating_as_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt inside, wherever nobody is `listening`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        # None: a handler that was not set from Python, which Python cannot put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextmanager
def listening(on_signal: Callable[[], None]) -> Iterator[None]:
    """Calls `on_signal` for each SIGINT or SIGTERM inside; outside they mean what they meant.

    The handler runs between any two instructions of the main thread, also while that holds a lock:
    it may set a plain attribute or send a signal, and take no lock. Elsewhere than in the main
    thread Python lets nobody listen, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number in SIGNALS:
            signal.signal(number, lambda _number, _frame: on_signal())
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
