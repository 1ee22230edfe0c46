"""Table changes in several regions: the coordinator's part and the participants'.

The catalog makes each step durable; this object decides which step comes next, and asks again when
an answer does not come. What it holds in memory may be lost at any time.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from antipodes.core.catalog import COMMITTED, PREPARED, Change
from antipodes.core.replication import (
    ChangeConfirmed,
    ChangeDecided,
    ChangeProposed,
    Effect,
    Refuse,
)

if TYPE_CHECKING:
    from tests.sim.node import Node


@dataclass(frozen=True, slots=True)
class Prepare:
    """The coordinator asks a participant to prepare."""

    change: Change


@dataclass(frozen=True, slots=True)
class Vote:
    """A participant has prepared, or cannot."""

    change_id: str
    region: str
    prepared: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """The coordinator tells what was decided."""

    change_id: str
    coordinator: str
    commit: bool


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A participant has carried a commit out."""

    change_id: str
    region: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A participant that hears nothing asks the coordinator."""

    change_id: str
    region: str


Message = Prepare | Vote | Decision | Confirmed | Ask


class TableChanges:
    """One region's part in all table changes, while its process lives."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._prepared: dict[str, set[str]] = {}
        """Per change coordinated here since the process started: who has prepared."""
        self._deciding: set[str] = set()

    def propose(self, change: Change) -> None:
        """Begin a change as its coordinator."""
        self._node.submit(ChangeProposed(change, partial(self._prepared_here, change)))

    def remind(self) -> None:
        """Go on with whatever waits for an answer; called now and then, and after a restart."""
        for change_id, pending in sorted(self._node.replica.catalog.pending.items()):
            change = pending.change
            if change.coordinator != self._node.name:
                if pending.state == PREPARED:
                    self._send(change.coordinator, Ask(change_id, self._node.name))
            elif pending.state == COMMITTED:
                self._announce(change, pending.unconfirmed, commit=True)
            elif change_id not in self._prepared or self._node.gives_up():
                # What was not decided before a crash is decided now.
                self._decide(change, commit=False)
            else:
                for region in self._others(change):
                    if region not in self._prepared[change_id]:
                        self._send(region, Prepare(change))

    def arrived(self, message: Message) -> None:
        """Take a message."""
        match message:
            case Prepare(change):
                self._node.submit(ChangeProposed(change, partial(self._prepared_for, change)))
            case Vote():
                self._voted(message)
            case Decision(change_id, _, commit):
                done = partial(self._carried_out, message) if commit else None
                self._node.submit(ChangeDecided(change_id, commit, done))
            case Confirmed(change_id, region):
                self._node.submit(ChangeConfirmed(change_id, region))
            case Ask(change_id, region):
                pending = self._node.replica.catalog.pending.get(change_id)
                if pending is None or pending.state == COMMITTED:
                    decision = Decision(change_id, self._node.name, commit=pending is not None)
                    self._send(region, decision)

    # --- coordinator

    def _prepared_here(self, change: Change, effect: Effect) -> None:
        if isinstance(effect, Refuse):
            self._node.history.refused += 1
            return
        self._prepared[change.id] = {self._node.name}
        for region in self._others(change):
            self._send(region, Prepare(change))
        self._decide_if_all_prepared(change)

    def _voted(self, vote: Vote) -> None:
        pending = self._node.replica.catalog.pending.get(vote.change_id)
        prepared = self._prepared.get(vote.change_id)
        if pending is None or pending.state != PREPARED or prepared is None:
            return
        if not vote.prepared:
            self._decide(pending.change, commit=False)
            return
        prepared.add(vote.region)
        self._decide_if_all_prepared(pending.change)

    def _decide_if_all_prepared(self, change: Change) -> None:
        if self._prepared[change.id] == set(change.participants):
            self._decide(change, commit=True)

    def _decide(self, change: Change, *, commit: bool) -> None:
        if change.id not in self._deciding:
            self._deciding.add(change.id)
            self._node.submit(ChangeDecided(change.id, commit, partial(self._decided, change)))

    def _decided(self, change: Change, _effect: Effect) -> None:
        """Announce what is on disk, which is the decision."""
        pending = self._node.replica.catalog.pending.get(change.id)
        self._announce(change, self._others(change), commit=pending is not None)
        if pending is not None:
            self._node.history.changes_done.append(change)

    def _announce(self, change: Change, regions: tuple[str, ...], *, commit: bool) -> None:
        for region in regions:
            self._send(region, Decision(change.id, self._node.name, commit))

    # --- participant

    def _prepared_for(self, change: Change, effect: Effect) -> None:
        vote = Vote(change.id, self._node.name, prepared=not isinstance(effect, Refuse))
        self._send(change.coordinator, vote)

    def _carried_out(self, decision: Decision, _effect: Effect) -> None:
        self._send(decision.coordinator, Confirmed(decision.change_id, self._node.name))

    def _others(self, change: Change) -> tuple[str, ...]:
        return tuple(region for region in change.participants if region != self._node.name)

    def _send(self, region: str, message: Message) -> None:
        self._node.post(region, message)
