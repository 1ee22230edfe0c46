"""What may go wrong in one run: drawn per seed, so that runs differ in kind, not only in order."""

from dataclasses import dataclass, fields, replace
from random import Random


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities and sizes. All zero is a calm run.

    Attributes:
        loss: Of a message, per message; on a connection nothing after it arrives.
        flip: A bit of a batch turns, per batch.
        duplicate: A control message arrives twice.
        stale_hello: A receiver asks for more than it needs, per connection.
        crash_before_commit: Per transaction.
        crash_after_commit: Per transaction: durable, but nobody is told.
        disk_full: Per transaction.
        late_apply: What a broken connection brought is still applied.
        crash: A node stops at any time; a weight among the three that follow.
        cut: One direction of a link stops, or all links of a region.
        clock: A clock jumps, freezes or is set right.
        change_times_out: A coordinator gives a table change up, per reminder.
    """

    loss: float = 0.0
    flip: float = 0.0
    duplicate: float = 0.0
    stale_hello: float = 0.0
    crash_before_commit: float = 0.0
    crash_after_commit: float = 0.0
    disk_full: float = 0.0
    late_apply: float = 0.0
    crash: float = 0.0
    cut: float = 0.0
    clock: float = 0.0
    change_times_out: float = 0.0

    @classmethod
    def draw(cls, rng: Random) -> "Faults":
        """Switch each kind on or off, and choose how wild the run is."""
        wildness = rng.choice([0.0, 0.2, 1.0, 1.0])
        most = cls(
            loss=0.03, flip=0.05, duplicate=0.3, stale_hello=0.5, crash_before_commit=0.03,
            crash_after_commit=0.03, disk_full=0.05, late_apply=1.0, crash=1.0, cut=1.0, clock=1.0,
            change_times_out=0.3,
        )  # fmt: skip
        return cls(
            **{
                field.name: getattr(most, field.name) * wildness * rng.choice([0, 1]) * rng.random()
                for field in fields(cls)
            }
        )

    def healed(self) -> "Faults":
        """Nothing goes wrong any more, except what a healthy network does too."""
        return replace(Faults(), duplicate=self.duplicate, stale_hello=self.stale_hello)
