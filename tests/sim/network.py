"""A network that delays, loses and cuts; connections keep order, single messages do not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from tests.sim.faults import Faults

HEALTHY_DELAY_MS = (0, 1, 20)

Later = Callable[[int, Callable[[], None]], None]
"""Schedules a call so many virtual milliseconds from now."""


@dataclass(slots=True)
class Link:
    """One direction between two regions."""

    delay_ms: tuple[int, ...]
    cut: bool = False


@dataclass(eq=False, slots=True)
class Connection:
    """A bidirectional stream that one region dialled; each end sees it break on its own.

    Attributes:
        number: Grows with each connection of the run.
        receiver: The region that dialled, to follow the log of the other.
        origin: The region that was dialled.
        open_ends: Regions that still believe in it.
    """

    number: int
    receiver: str
    origin: str
    open_ends: set[str]
    broken: set[str] = field(default_factory=set[str])
    """Ends from which nothing gets through any more, since something was lost."""
    last_delivery_ms: dict[str, int] = field(default_factory=dict[str, int])

    def peer_of(self, end: str) -> str:
        """Give the other end."""
        return self.origin if end == self.receiver else self.receiver


class SimNet:
    """Carries messages between regions.

    Args:
        rng: Draws delays and losses.
        regions: All there are.
        faults: What may go wrong; replaced when the network heals.
        clock: Gives the virtual time.
        later: Schedules a delivery.
        reset: Tells the ends of a connection that it is gone.
    """

    def __init__(
        self,
        rng: Random,
        regions: list[str],
        faults: Faults,
        clock: Callable[[], int],
        later: Later,
        reset: Callable[[Connection], None],
    ) -> None:
        self.faults = faults
        self.lost = 0
        self._rng = rng
        self._clock = clock
        self._later = later
        self._reset = reset
        self._connections = 0
        profiles = ((0,), (0, 0, 1), (0, 5, 10), (40, 41), (1, 400), (0, 0, 0, 2_500))
        self.links = {
            (a, b): Link(rng.choice(profiles)) for a in regions for b in regions if a != b
        }

    def cut(self, source: str, target: str) -> None:
        """Let nothing pass in one direction, what is under way included."""
        self.links[source, target].cut = True

    def heal(self, *, completely: bool = False) -> None:
        """Let everything pass again; a network healed completely is quick, too."""
        for link in self.links.values():
            link.cut = False
            if completely:
                link.delay_ms = HEALTHY_DELAY_MS

    def dial(self, receiver: str, origin: str) -> Connection:
        """Open a connection."""
        self._connections += 1
        return Connection(self._connections, receiver, origin, {receiver, origin})

    def send(
        self, connection: Connection, source: str, deliver: Callable[[Any], None], message: Any
    ) -> None:
        """Send on a connection: in order, and never past a message that was lost."""
        target = connection.peer_of(source)
        if source in connection.broken or source not in connection.open_ends:
            return
        if self._loses(source, target):
            self._break(connection, source)
            return
        arrival_ms = max(
            connection.last_delivery_ms.get(source, 0), self._clock() + self._delay(source, target)
        )
        connection.last_delivery_ms[source] = arrival_ms

        def arrive() -> None:
            if self.links[source, target].cut or target not in connection.open_ends:
                self._break(connection, source)
            elif source not in connection.broken:
                deliver(message)

        self._later(arrival_ms - self._clock(), arrive)

    def post(self, source: str, target: str, deliver: Callable[[Any], None], message: Any) -> None:
        """Send by itself: may be lost, repeated, or overtaken."""

        def arrive() -> None:
            if not self.links[source, target].cut:
                deliver(message)

        for _ in range(1 + (self._rng.random() < self.faults.duplicate)):
            if not self._loses(source, target):
                self._later(self._delay(source, target) * self._rng.choice([1, 1, 3]), arrive)

    def _break(self, connection: Connection, source: str) -> None:
        """Let nothing more through from one end; the transport notices sooner or later."""
        if source not in connection.broken:
            connection.broken.add(source)
            self._later(self._rng.choice([0, 50, 7_000]), partial(self._reset, connection))

    def _loses(self, source: str, target: str) -> bool:
        lost = self.links[source, target].cut or self._rng.random() < self.faults.loss
        self.lost += lost
        return lost

    def _delay(self, source: str, target: str) -> int:
        return self._rng.choice(self.links[source, target].delay_ms)
