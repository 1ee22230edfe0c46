"""One winner in every order of arrival, and a record of who lost."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.conflicts import (
    Contender,
    conflict_id,
    parse_conflict,
    pick_winner,
    print_conflict,
)
from antipodes.core.keys import ItemKey
from antipodes.core.versions import Dot, Origin, Stamp
from tests.sim.region import Region

REGIONS = ("africa", "america", "asia")


def contender(hlc: int, region: str = "asia", lsn: int = 1) -> Contender:
    origin = Origin(region, 1)
    return Contender(Stamp(hlc, region, 1, lsn), Dot(origin.id, lsn), b'{"v":{"N":"%d"}}' % hlc)


contenders = st.builds(contender, st.integers(0, 3), st.sampled_from(REGIONS), st.integers(1, 3))


@given(contenders, contenders)
def test_winner_does_not_depend_on_who_came_first(a: Contender, b: Contender) -> None:
    assert pick_winner(a, b)[0] == pick_winner(b, a)[0]
    assert set(pick_winner(a, b)) == {a, b}


@given(contenders, contenders, contenders)
def test_winner_does_not_depend_on_grouping_or_repetition(
    a: Contender, b: Contender, c: Contender
) -> None:
    best = pick_winner(a, pick_winner(b, c)[0])[0]
    assert best == pick_winner(pick_winner(a, b)[0], c)[0]
    assert best == pick_winner(best, a)[0]


@given(st.lists(contenders, min_size=1, max_size=4))
def test_greatest_stamp_wins(versions: list[Contender]) -> None:
    winner = reduce(lambda a, b: pick_winner(a, b)[0], versions)
    assert winner.stamp == max(version.stamp for version in versions)


# --- three writes, six orders


@dataclass(frozen=True)
class Written:
    """A write as a naive system sees it: a wall clock, and what it has seen."""

    name: str
    wall_ms: int
    seen: frozenset[str] = frozenset()


def vector_first(a: Written, b: Written) -> Written:
    """The rule that looks right: who has seen the other wins; else the later wall clock."""
    if b.name in a.seen:
        return a
    if a.name in b.seen:
        return b
    return max(a, b, key=lambda version: version.wall_ms)


def winners_of_all_orders(
    rule: Callable[[Written, Written], Written], writes: list[Written]
) -> set[str]:
    return {reduce(rule, order).name for order in permutations(writes)}


THREE_WRITES = [
    Written("first", wall_ms=10),
    Written("second", wall_ms=5, seen=frozenset({"first"})),  # its clock is behind
    Written("third", wall_ms=7),
]


def test_vector_first_then_wall_clock_gives_three_winners_in_six_orders() -> None:
    assert winners_of_all_orders(vector_first, THREE_WRITES) == {"first", "second", "third"}


def three_regions_with_three_writes() -> list[Region]:
    first, second, third = (Region(name) for name in REGIONS)
    first.now_ms, second.now_ms, third.now_ms = (write.wall_ms for write in THREE_WRITES)
    first.put("k", "first")
    second.follow(first)
    second.put("k", "second")
    third.put("k", "third")
    return [first, second, third]


def test_the_same_three_writes_have_one_winner_in_all_six_orders_here() -> None:
    regions = three_regions_with_three_writes()
    states = []
    for order in permutations(regions):
        reader = Region("oceania")
        for region in order:
            reader.follow(region)
        assert reader.replica.counts["violation"] == 0
        states.append(reader.state())
    assert all(state == states[0] for state in states)
    reader = Region("oceania")
    for region in regions:
        reader.follow(region)
    assert reader.value("k") == "second"


# --- records


def test_conflict_has_the_same_name_at_every_replica() -> None:
    a, b = Dot(b"a" * 8, 1), Dot(b"b" * 8, 2)
    assert conflict_id(a, b) == conflict_id(b, a)
    assert conflict_id(a, b) != conflict_id(a, Dot(b"b" * 8, 3))


@pytest.mark.parametrize("payload", [None, b'{"v":{"N":"1"}}'])
def test_conflict_record_reads_back(payload: bytes | None) -> None:
    winner = contender(2)
    loser = Contender(Stamp(1, "africa", 1, 4), Dot(b"a" * 8, 4), payload)
    record = parse_conflict(print_conflict(b"t" * 16, ItemKey(b"p\0", b"s"), winner, loser, 99))
    assert record == {
        "format": 1,
        "id": conflict_id(loser.dot, winner.dot),
        "table_id": (b"t" * 16).hex(),
        "key": ItemKey(b"p\0", b"s"),
        "winner": {
            "hlc": 2, "region": "asia", "incarnation": 1, "lsn": 1, "image": {"v": {"N": "2"}},
        },
        "loser": {
            "hlc": 1, "region": "africa", "incarnation": 1, "lsn": 4,
            "image": None if payload is None else {"v": {"N": "1"}},
        },
        "detected_ms": 99,
        "equal": False,
    }  # fmt: skip


def test_conflict_of_equal_images_says_so() -> None:
    a, b = contender(1, "africa"), contender(1, "asia")
    assert parse_conflict(print_conflict(b"", ItemKey(b"p", b""), a, b, 0))["equal"] is True
