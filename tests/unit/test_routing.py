"""The order of regions is a law, whatever the regions and the wish."""

from math import inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.regions import AWS_REGIONS, Coordinates, distance_km
from antipodes_router.routing import (
    RegionView,
    Wish,
    check_coordinates,
    order_regions,
    parse_coordinates,
)

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
    with pytest.raises(ValueError, match="latitude -90.5"):
        check_coordinates(-90.5, 0)
