"""An event loop on a thread of its own, for the synchronous client."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
# uvloop is not made for every platform; the loop of the standard library does as well.
with contextlib.suppress(ImportError):
    from uvloop import new_event_loop

Outcome = TypeVar("Outcome")


class Background:
    """Runs coroutines for callers on other threads."""

    def __init__(self) -> None:
        self._loop = new_event_loop()
        self._loop.set_exception_handler(_report)
        self._process = os.getpid()
        self._stopping = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="antipodes-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Run a coroutine and wait for what it returns.

        An interrupt (Ctrl-C) ends the waiting and cancels the coroutine.

        Raises:
            RuntimeError: The client is closed, or it was opened before a fork.
        """
        if self._process != os.getpid():
            coroutine.close()
            raise RuntimeError("this client was opened before a fork; connect again in the child")
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # The loop is closed.
            coroutine.close()
            raise RuntimeError("this client is closed") from None
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Run a last coroutine, then end the thread; a second time nothing happens.

        Args:
            last: What closes everything that lives on the loop.
        """
        inside = threading.current_thread() is self._thread
        with self._stopping:
            if self._process != os.getpid() or inside or not self._thread.is_alive():
                last.close()
                if inside:  # The garbage collector came by on this very thread.
                    self._loop.stop()
                return
            try:
                self.run(last)
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            # What callers started and nobody waits for any more.
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # With several event loops in one process the loops of gRPC wake one another and one of them
    # finds nothing to read; see https://github.com/grpc/grpc/issues/25364.
    if isinstance(context.get("exception"), BlockingIOError):
        return
    loop.default_exception_handler(context)
