"""The order of regions is a law; which regions get traffic follows from what was seen."""

from math import inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.regions import AWS_REGIONS, Coordinates, distance_km
from antipodes.v1.admin_pb2 import LINK_STATE_STOPPED, GetStatusResponse, LinkStatus
from antipodes_router.routing import (
    RegionView,
    Wish,
    check_coordinates,
    order_regions,
    parse_coordinates,
)
from antipodes_router.topology import Place, Topology

milliseconds = st.sampled_from([-1.0, 0.0, 2.0, 80.0])
places = st.builds(Coordinates, st.sampled_from([-90.0, 0.0, 50.0]), st.sampled_from([-180.0, 9.0]))
names = st.sampled_from(["a", "b", "c", "d"])
views = st.builds(
    RegionView,
    region=names,
    address=st.just("host:1"),
    coordinates=places,
    healthy=st.booleans(),
    available=st.booleans(),
    round_trip_ms=milliseconds,
    nearness_ms=milliseconds,
    reason=st.just(""),
)
topologies = st.lists(views, max_size=4, unique_by=lambda view: view.region)
wishes = st.builds(
    Wish,
    region=st.just("") | names,
    coordinates=st.none() | places,
    measured_ms=st.dictionaries(names, milliseconds | st.sampled_from([nan, inf])),
)


def aws(name: str, *, available: bool = True, nearness_ms: float = -1.0) -> RegionView:
    return RegionView(
        name, "host:1", AWS_REGIONS[name], available, available, nearness_ms, nearness_ms
    )


def order_names(regions: list[RegionView], wish: Wish) -> list[str]:
    return [view.region for view in order_regions(regions, wish)]


@given(topologies, wishes)
def test_order_is_a_permutation(regions: list[RegionView], wish: Wish) -> None:
    ordered = order_regions(regions, wish)
    assert sorted(ordered, key=id) == sorted(regions, key=id)


@given(topologies, wishes)
def test_available_regions_come_before_unavailable_ones(
    regions: list[RegionView], wish: Wish
) -> None:
    available = [view.available for view in order_regions(regions, wish)]
    assert available == sorted(available, reverse=True)


@given(topologies, wishes, st.randoms(use_true_random=False))
def test_order_does_not_depend_on_the_order_given(
    regions: list[RegionView], wish: Wish, random: Random
) -> None:
    shuffled = list(regions)
    random.shuffle(shuffled)
    assert order_regions(shuffled, wish) == order_regions(regions, wish)


@given(topologies, wishes)
def test_named_region_is_first_when_available(regions: list[RegionView], wish: Wish) -> None:
    named = [view for view in regions if view.region == wish.region and view.available]
    if named:
        assert order_regions(regions, wish)[0] is named[0]


@given(topologies, wishes)
def test_others_follow_by_distance_from_the_named_region(
    regions: list[RegionView], wish: Wish
) -> None:
    named = [view for view in regions if view.region == wish.region]
    if named:
        rest = [v for v in order_regions(regions, wish) if v.available and v is not named[0]]
        distances = [distance_km(named[0].coordinates, view.coordinates) for view in rest]
        assert distances == sorted(distances)


@given(topologies, places)
def test_nearest_on_the_globe_is_first(regions: list[RegionView], here: Coordinates) -> None:
    ordered = [v for v in order_regions(regions, Wish(coordinates=here)) if v.available]
    distances = [distance_km(here, view.coordinates) for view in ordered]
    assert distances == sorted(distances)


def test_named_region_when_another_has_its_coordinates_is_still_first() -> None:
    twins = [aws("us-east-2"), aws("us-gov-east-1")]
    assert order_names(twins, Wish("us-gov-east-1")) == ["us-gov-east-1", "us-east-2"]


def test_named_region_when_unavailable_gives_way_to_its_nearest() -> None:
    regions = [aws("ap-south-1"), aws("us-east-1", available=False), aws("eu-west-1")]
    assert order_names(regions, Wish("us-east-1")) == ["eu-west-1", "ap-south-1", "us-east-1"]


def test_client_measurements_win_over_the_routers_own() -> None:
    regions = [aws("eu-west-1", nearness_ms=0), aws("us-east-1", nearness_ms=90)]
    wish = Wish(measured_ms={"us-east-1": 5, "eu-west-1": 70})
    assert order_names(regions, wish) == ["us-east-1", "eu-west-1"]


def test_measurements_that_mean_nothing_count_as_not_measured() -> None:
    regions = [aws("eu-west-1"), aws("sa-east-1"), aws("us-east-1")]
    wish = Wish(measured_ms={"eu-west-1": nan, "sa-east-1": -1, "us-east-1": 70})
    assert order_names(regions, wish) == ["us-east-1", "eu-west-1", "sa-east-1"]


def test_without_a_wish_the_routers_round_trips_decide_and_unknown_is_last() -> None:
    regions = [aws("eu-west-1"), aws("sa-east-1", nearness_ms=90), aws("us-east-1", nearness_ms=2)]
    assert order_names(regions, Wish()) == ["us-east-1", "sa-east-1", "eu-west-1"]


def test_equal_regions_are_ordered_by_name() -> None:
    regions = [aws(name, nearness_ms=0) for name in ("us-east-1", "ap-south-1", "eu-west-1")]
    assert order_names(regions, Wish()) == ["ap-south-1", "eu-west-1", "us-east-1"]


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_coordinates_survive_their_text(latitude: float, longitude: float) -> None:
    assert parse_coordinates(f"{latitude!r}, {longitude!r}") == (latitude, longitude)


@pytest.mark.parametrize(
    "text", ["", "1", "1,2,3", "north,west", "91,0", "0,181", "nan,0", "0,inf"]
)
def test_malformed_coordinates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not"):
        parse_coordinates(text)


def test_coordinates_off_the_globe_are_refused() -> None:
    with pytest.raises(ValueError, match=r"latitude -90\.5"):
        check_coordinates(-90.5, 0)


# Topology: time is given, nothing waits.


def topology(*names_: str, **settings: object) -> Topology:
    places_ = {name: Place("host:1", AWS_REGIONS[name]) for name in names_}
    return Topology(places_, **settings)  # type: ignore[arg-type]


def status(*unsynced: str, **fields: str) -> GetStatusResponse:
    links = [LinkStatus(peer_region=peer) for peer in unsynced]
    return GetStatusResponse(links=links, **fields)  # type: ignore[arg-type]


def available(regions: Topology) -> list[str]:
    return [view.region for view in regions.snapshot.regions if view.available]


def reason(regions: Topology, name: str) -> str:
    view = regions.view(name)
    assert view is not None
    return view.reason


async def test_healthy_region_waits_for_the_first_check_of_its_peer() -> None:
    regions = topology("eu-west-1", "us-east-1")
    regions.answered("us-east-1", 1, now_ms=0)
    regions.reported("us-east-1", status("eu-west-1"), now_ms=0)
    assert reason(regions, "us-east-1") == "waiting for the first health check of eu-west-1"
    regions.failed("eu-west-1", "refused", now_ms=0)
    assert available(regions) == ["us-east-1"]


async def test_region_waits_for_a_healthy_peer_and_no_longer_when_the_peer_dies() -> None:
    regions = topology("eu-west-1", "us-east-1")
    for name in ("eu-west-1", "us-east-1"):
        regions.answered(name, 1, now_ms=0)
    regions.reported("eu-west-1", status(), now_ms=0)
    regions.reported("us-east-1", status("eu-west-1"), now_ms=0)
    assert available(regions) == ["eu-west-1"]
    regions.failed("eu-west-1", "refused", now_ms=0)
    assert available(regions) == ["us-east-1"]


async def test_stopped_link_keeps_a_region_out_and_says_why() -> None:
    regions = topology("eu-west-1", "us-east-1")
    for name in ("eu-west-1", "us-east-1"):
        regions.answered(name, 1, now_ms=0)
    stopped = LinkStatus(peer_region="eu-west-1", state=LINK_STATE_STOPPED, last_error="gap")
    regions.reported("us-east-1", GetStatusResponse(links=[stopped]), now_ms=0)
    assert reason(regions, "us-east-1") == "its link to eu-west-1 stopped: gap"


async def test_status_of_a_process_that_is_gone_does_not_count() -> None:
    regions = topology("us-east-1")
    regions.answered("us-east-1", 1, now_ms=0)
    regions.failed("us-east-1", "the connection broke", now_ms=1)
    regions.reported("us-east-1", status(), now_ms=2)
    regions.answered("us-east-1", 1, now_ms=3)
    assert available(regions) == []
    regions.reported("us-east-1", status(), now_ms=4)
    assert available(regions) == ["us-east-1"]


async def test_long_wait_ends_for_regions_that_take_writes_first() -> None:
    regions = topology("eu-west-1", "us-east-1", catch_up_wait_ms=100)
    for name in ("eu-west-1", "us-east-1"):
        regions.answered(name, 1, now_ms=0)
    regions.reported("eu-west-1", status(writes_refused="disk full"), now_ms=0)
    regions.reported("us-east-1", status("eu-west-1"), now_ms=99)
    assert available(regions) == []
    regions.answered("us-east-1", 1, now_ms=100)
    assert available(regions) == ["us-east-1"]


async def test_long_wait_never_ends_for_another_cluster() -> None:
    regions = topology("us-east-1", cluster_id="c1", catch_up_wait_ms=0)
    regions.answered("us-east-1", 1, now_ms=0)
    assert available(regions) == []
    regions.reported("us-east-1", status(cluster_id="c2"), now_ms=9)
    assert available(regions) == []


@given(st.lists(st.floats(0.01, 9.9), min_size=1, max_size=40))
async def test_noise_of_a_local_network_settles_and_makes_no_generation(
    trips: list[float],
) -> None:
    regions = topology("us-east-1")
    regions.answered("us-east-1", 0.5, now_ms=0)
    generation = regions.snapshot.generation
    for trip in trips:
        regions.answered("us-east-1", trip, now_ms=0)
    assert regions.snapshot.generation == generation
    assert regions.snapshot.regions[0].nearness_ms == 0
    assert regions.snapshot.regions[0].round_trip_ms > 0


async def test_region_that_moved_away_is_noticed_when_old_round_trips_are_forgotten() -> None:
    regions = topology("us-east-1")
    regions.answered("us-east-1", 1, now_ms=0)
    for _ in range(16):
        regions.answered("us-east-1", 80.5, now_ms=0)
    assert regions.snapshot.regions[0].nearness_ms == 80
