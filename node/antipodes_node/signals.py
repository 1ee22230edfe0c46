"""Waking those who follow the log."""

import asyncio


class HeadSignal:
    """The head of the log, and tasks that wait for it to move. Used on the event loop only.

    Attributes:
        head_lsn: As of the newest commit.
        closed: The node stops; whoever follows the log should end.
    """

    def __init__(self, head_lsn: int) -> None:
        self.head_lsn = head_lsn
        self.closed = False
        self._waiting: list[asyncio.Future[None]] = []

    def advance(self, head_lsn: int) -> None:
        """Note a new head and wake everybody who waits for it."""
        if head_lsn > self.head_lsn:
            self.head_lsn = head_lsn
            self.wake()

    def close(self) -> None:
        """Tell everybody to end."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """Wake everybody, to look at what has changed."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait_beyond(self, lsn: int, seconds_max: float) -> bool:
        """Wait until the head lies above a position, or there is another reason to look.

        Args:
            lsn: The position.
            seconds_max: Give up after this time.

        Returns:
            Whether it does.
        """
        if self.head_lsn > lsn or self.closed:
            return self.head_lsn > lsn
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        timer = asyncio.get_running_loop().call_later(seconds_max, _give_up, future)
        try:
            await future
        finally:
            timer.cancel()
            if future in self._waiting:
                self._waiting.remove(future)
        return self.head_lsn > lsn


def _give_up(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
