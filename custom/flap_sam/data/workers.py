# SPDX-License-Identifier: Apache-2.0
"""Cases done side by side, each in a process of its own, so that a site's cores are all of use."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any

from flap_sam.errors import FlapSamError

Each = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Applies a function to every item; the results come in the items' order."""


def in_turn(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """The `Each` of one process."""
    return [function(item) for item in items]


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """At most `count` processes that start when they are first needed and end with the block or with this process.

    Raises:
        FlapSamError: `count` is below 1.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise FlapSamError(f"{count} workers were asked for, expected at least 1.")
        self._pool = _pool(count) if count > 1 else None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool:
            if kind and not issubclass(kind, Exception):  # an interruption does not wait for what is half done
                for worker in active_children():
                    worker.terminate()
            self._pool.shutdown(cancel_futures=True)

    def each(
        self, function: Callable[[Any], Any], items: Sequence[Any], done: Callable[[], object] = lambda: None
    ) -> list[Any]:
        """Apply a function to every item, in this process if there is one item or one worker.

        Args:
            function: at the top level of a module, or a `partial` of such.
            done: called after every item.

        Returns:
            The results in the items' order.

        Raises:
            Exception: the first one that the function raises; items already handed to a worker are finished, the
                others are not begun.
            FlapSamError: a worker was killed.
        """
        if self._pool is None or len(items) < 2:
            results = []
            for item in items:
                results.append(function(item))
                done()
            return results
        tasks = [self._pool.submit(function, item) for item in items]
        try:
            for task in as_completed(tasks):
                task.result()
                done()
        except BrokenProcessPool as problem:
            raise FlapSamError(
                "A worker process was killed, most likely because memory ran out; run again with fewer workers, "
                "what is done is kept."
            ) from problem
        finally:
            for task in tasks:
                task.cancel()
        return [task.result() for task in tasks]


def _pool(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, get_context("spawn"), initializer=_follow_parent)


def _follow_parent() -> None:
    """Leave an interruption to the parent, and end with it even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
