"""Which region serves an HTTP request: what it asks for, and what there is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from antipodes.wire import sigv4
from antipodes_router.http.heads import Request
from antipodes_router.http.limits import Limits
from antipodes_router.http.upstream import Pool
from antipodes_router.routing import NO_WISH, RegionView, Wish, order_regions, parse_coordinates
from antipodes_router.topology import Snapshot, Topology
from antipodes_router.upstream import Upstream

REGION_HEADER = "x-antipodes-region"
NEAR_HEADER = "x-antipodes-near"
SERVED_BY_HEADER = "x-antipodes-served-by"

NO_ADDRESS = "this router does not know where its node answers HTTP"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request asks for.

    Attributes:
        wish: Where the client is.
        named: The region that the signature names; no other will do. Empty when any will.
    """

    wish: Wish
    named: str = ""


@dataclass(slots=True)
class HttpState:
    """What all connections of the port share.

    Attributes:
        topology: Which regions there are and how they are.
        upstreams: The gRPC side of each region; requests in flight are noted there, so that a node
            that stops answering health checks breaks them too.
        pools: The connections to each region that answers HTTP.
        suspect: Called with a region whose request failed as if its node was gone.
        limits: What clients and nodes may take.
        failover_named: Another region may serve a request that was signed for one.
        stopping: No further requests are taken.
        ended: Nothing is sent to any region any more.
        buffered_bytes: Held bodies of all requests.
    """

    topology: Topology
    upstreams: Mapping[str, Upstream]
    pools: Mapping[str, Pool]
    suspect: Callable[[str], None]
    limits: Limits
    failover_named: bool
    stopping: bool = False
    ended: bool = False
    buffered_bytes: int = 0
    _orders: dict[str, list[RegionView]] = field(default_factory=dict)
    _snapshot: Snapshot | None = None

    def plan(self, request: Request) -> Plan:
        """Read where a request wants to go.

        Raises:
            ValueError: One of the router's own headers makes no sense.
        """
        if request.authorization:
            signed = sigv4.parse(request.authorization)
            if signed is not None and self.topology.view(signed.region) is not None:
                named = "" if self.failover_named else signed.region
                return Plan(Wish(signed.region), named)
        if not request.region and not request.near:
            return _ANYWHERE
        region, near = request.region.decode("latin-1"), None
        if region and self.topology.view(region) is None:
            known = ", ".join(self.upstreams)
            raise ValueError(f"{REGION_HEADER}: there is no region {region!r}; known are: {known}")
        if request.near:
            try:
                near = parse_coordinates(request.near.decode("latin-1"))
            except ValueError as error:
                raise ValueError(f"{NEAR_HEADER}: {error}") from error
        return Plan(Wish(region, near))

    def pick(self, plan: Plan, tried: Mapping[str, str]) -> str:
        """Choose the best region that was not tried; empty when there is none."""
        if self.ended:
            return ""
        for view in self._ordered(plan.wish):
            if not view.available:
                break
            if plan.named and view.region != plan.named:
                continue
            if view.region not in tried and view.region in self.pools:
                return view.region
        return ""

    def nowhere(self, plan: Plan, tried: Mapping[str, str]) -> str:
        """Say why no region serves a request.

        Args:
            plan: Of the request.
            tried: Regions that were tried, and what became of it.
        """
        reasons = {
            view.region: tried.get(view.region) or view.reason or self._lacks(view.region)
            for view in self.topology.snapshot.regions
        }
        if plan.named:
            return f"region {plan.named} is not available ({reasons[plan.named]})"
        return "no region is available: " + "; ".join(f"{r}: {why}" for r, why in reasons.items())

    def first_available(self) -> str:
        """Name the nearest region that gets traffic; empty when there is none."""
        return "" if self.stopping else self.pick(_ANYWHERE, {})

    def _lacks(self, region: str) -> str:
        return "this router is stopping" if region in self.pools else NO_ADDRESS

    def _ordered(self, wish: Wish) -> list[RegionView]:
        snapshot = self.topology.snapshot
        if wish.coordinates is not None and not wish.region:
            return order_regions(snapshot.regions, wish)
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._orders.clear()
        order = self._orders.get(wish.region)  # Only names of regions get here: it stays small.
        if order is None:
            order = self._orders[wish.region] = order_regions(snapshot.regions, wish)
        return order


_ANYWHERE = Plan(NO_WISH)
