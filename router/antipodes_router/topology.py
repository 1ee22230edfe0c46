"""The regions, their health, and which of them get traffic. Decides; does no input or output.

    unhealthy ──health check answers──▶ catching up ──synced with each healthy peer──▶ available
        ▲                                    │                                            │
        └────────health check fails, or the connection to the node breaks─────────────────┘

Being available ends only with being unhealthy: later lag is normal. ``probing`` reports what it
saw with a time that only grows; ``forwarding`` and ``service`` read ``snapshot``.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import structlog

from antipodes.core.regions import Coordinates
from antipodes.v1.admin_pb2 import LINK_STATE_PAUSED, LINK_STATE_STOPPED, GetStatusResponse
from antipodes_router.routing import UNKNOWN, RegionView

log = structlog.get_logger()

TRIPS_KEPT = 16
"""Round trips remembered per region; the least of them is free of queueing. 8 s at 500 ms."""

NEARNESS_STEP_MS = 2.0
"""Regions are told apart by steps of this size; noise on a local network stays below it."""

NEARNESS_RISE_MS = 10.0
NEARNESS_RISE = 0.25
"""A region moves away only by more than both of these, so that load does not reorder regions."""

NOT_CHECKED = "not checked yet"


class Place(NamedTuple):
    """Where a region is: on the network and on the globe."""

    address: str
    coordinates: Coordinates


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All regions at one moment.

    Attributes:
        generation: Grows with each change of a region's health, availability or reason.
        regions: In the order of their names.
    """

    generation: int
    regions: tuple[RegionView, ...]


@dataclass(slots=True)
class _Region:
    view: RegionView
    checked: bool = False
    status: GetStatusResponse | None = None
    status_problem: str = ""
    trips: deque[float] = field(default_factory=lambda: deque(maxlen=TRIPS_KEPT))


class Topology:
    """Holds what is known about the regions.

    Args:
        places: The regions by name.
        cluster_id: Nodes of other clusters get no traffic; empty takes any.
        catch_up_wait_ms: When no healthy region is caught up for so long, all get traffic.
    """

    def __init__(
        self, places: Mapping[str, Place], cluster_id: str = "", catch_up_wait_ms: float = 5000
    ) -> None:
        self._regions = {
            name: _Region(RegionView(name, *places[name], reason=NOT_CHECKED))
            for name in sorted(places)
        }
        self._cluster_id = cluster_id
        self._catch_up_wait_ms = catch_up_wait_ms
        self._none_since_ms: float | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self.snapshot = Snapshot(1, tuple(r.view for r in self._regions.values()))

    def view(self, name: str) -> RegionView | None:
        """Say what is known about one region; None when there is no such region."""
        region = self._regions.get(name)
        return None if region is None else region.view

    def answered(self, name: str, round_trip_ms: float, now_ms: float) -> None:
        """Note that a health check said SERVING."""
        region = self._regions[name]
        region.checked = True
        region.trips.append(round_trip_ms)
        view = region.view
        best = min(region.trips)
        nearness = view.nearness_ms
        rise = max(NEARNESS_RISE_MS, nearness * NEARNESS_RISE)
        if nearness < 0 or best < nearness or best > nearness + rise:
            nearness = best // NEARNESS_STEP_MS * NEARNESS_STEP_MS
        smoothed = (
            round_trip_ms
            if view.round_trip_ms < 0
            else view.round_trip_ms + (round_trip_ms - view.round_trip_ms) / 4
        )
        region.view = replace(
            view, healthy=True, nearness_ms=nearness, round_trip_ms=round(smoothed, 3)
        )
        if not view.healthy:
            log.info("region_up", region=name, round_trip_ms=region.view.round_trip_ms)
        self._settle(now_ms)

    def reported(
        self, name: str, status: GetStatusResponse | None, now_ms: float, problem: str = ""
    ) -> None:
        """Note what a healthy node says about itself.

        Args:
            name: The region.
            status: Its answer; None when there was none.
            now_ms: Monotonic time.
            problem: Why there was none.
        """
        region = self._regions[name]
        if region.view.healthy:  # Else the connection broke meanwhile: another process may answer.
            region.status, region.status_problem = status, problem
            self._settle(now_ms)

    def failed(self, name: str, reason: str, now_ms: float) -> None:
        """Note that a health check failed or that the connection broke."""
        region = self._regions[name]
        was = region.view
        region.checked = True
        # What it said before may have been said by a process that is gone.
        region.status, region.status_problem = None, ""
        region.trips.clear()
        region.view = replace(
            was, healthy=False, available=False, round_trip_ms=UNKNOWN, reason=reason
        )
        if was.healthy or was.reason == NOT_CHECKED:
            log.warning("region_down", region=name, reason=reason)
        self._settle(now_ms)

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Yield the snapshot now and after each change, until ``close``; skips what is outdated."""
        generation = 0
        while not self._closed:
            changed, snapshot = self._changed, self.snapshot
            if snapshot.generation != generation:
                generation = snapshot.generation
                yield snapshot
            else:
                await changed.wait()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._changed.set()

    def _settle(self, now_ms: float) -> None:
        for region in self._regions.values():
            if region.view.healthy and not region.view.available:
                reason = self._obstacle(region)
                region.view = replace(region.view, available=not reason, reason=reason)
        self._end_long_waits(now_ms)
        self._publish()

    def _obstacle(self, region: _Region) -> str:
        """Say why a healthy region gets no traffic yet; empty when it does."""
        if foreign := self._foreign(region):
            return foreign
        status = region.status
        if status is None:
            return region.status_problem or "its status is not known yet"
        if status.writes_refused:
            return f"it refuses writes: {status.writes_refused}"
        for link in status.links:
            if link.synced or link.state == LINK_STATE_PAUSED:
                continue
            peer = self._regions.get(link.peer_region)
            if peer is None or (peer.checked and not peer.view.healthy) or self._foreign(peer):
                continue
            if not peer.checked:
                return f"waiting for the first health check of {link.peer_region}"
            if link.state == LINK_STATE_STOPPED:
                return f"its link to {link.peer_region} stopped: {link.last_error}"
            return f"catching up with {link.peer_region}"
        return ""

    def _foreign(self, region: _Region) -> str:
        """Say why a node is not the one that was meant; empty when it is, or has not said."""
        status = region.status
        if status is None:
            return ""
        if self._cluster_id and status.cluster_id != self._cluster_id:
            return (
                f"its node belongs to cluster {status.cluster_id!r}, "
                f"this router to cluster {self._cluster_id!r}"
            )
        if status.region and status.region != region.view.region:
            return f"the node at {region.view.address} serves region {status.region}"
        return ""

    def _end_long_waits(self, now_ms: float) -> None:
        healthy = [
            region
            for region in self._regions.values()
            if region.view.healthy
            and not self._foreign(region)
            and (region.status is not None or not self._cluster_id)
        ]
        if not healthy or any(region.view.available for region in healthy):
            self._none_since_ms = None
            return
        if self._none_since_ms is None:
            self._none_since_ms = now_ms
        if now_ms - self._none_since_ms < self._catch_up_wait_ms:
            return
        self._none_since_ms = None
        # A region that refuses writes still serves reads, but only when there is nothing better.
        accepting = [r for r in healthy if r.status is None or not r.status.writes_refused]
        for region in accepting or healthy:
            log.warning("catch_up_wait_ended", region=region.view.region, reason=region.view.reason)
            region.view = replace(region.view, available=True, reason="")

    def _publish(self) -> None:
        before = self.snapshot
        regions = tuple(region.view for region in self._regions.values())
        changed = False
        for old, new in zip(before.regions, regions, strict=True):
            if new.available and not old.available:
                log.info("region_available", region=new.region)
            changed |= (old.healthy, old.available, old.reason) != (
                new.healthy, new.available, new.reason,
            )  # fmt: skip
        self.snapshot = Snapshot(before.generation + changed, regions)
        if changed:
            changed_before, self._changed = self._changed, asyncio.Event()
            changed_before.set()
            if self._closed:
                self._changed.set()
