"""One region: what a write, an arrival and a restart change, and what they leave alone."""

from dataclasses import replace
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.catalog import CREATE, DELETE, Change, read_statistics
from antipodes.core.clock import from_ms, to_ms
from antipodes.core.conflicts import parse_conflict
from antipodes.core.errors import Corrupt, ResourceNotFoundException, ServiceUnavailable
from antipodes.core.formats import Kind, decode_body, encode_body
from antipodes.core.replication import (
    Acknowledge,
    ChangeDecided,
    ChangeProposed,
    Confirm,
    EntriesArrived,
    OriginsNamed,
    PurgeDue,
    Refuse,
    ReportProgress,
    WriteRequested,
)
from antipodes.core.streams import RecordPrinter
from antipodes.core.versions import Origin, OriginId
from tests.sim.region import REGIONS, SCHEMA, TABLE_ID, Region, State
from tests.sim.store import DiskFull

AFRICA, AMERICA, ASIA = REGIONS


# --- local writes


def test_write_is_stored_logged_streamed_and_counted() -> None:
    here = Region(now_ms=5)
    outcome = here.put("k", "new")
    assert (outcome.old_payload, outcome.hlc, outcome.lsn) == (None, from_ms(5) + 1, 1)
    assert here.value("k") == "new"
    assert [(body.kind, body.wall_ms) for body in here.bodies()] == [(Kind.PUT, 5)]
    assert here.streamed() == [1]
    assert read_statistics(here.store.read(), here.dbs, here.table.number)[0] == 1


def test_write_shows_what_was_there_before() -> None:
    here = Region()
    here.put("k", "old")
    before = here.put("k", "new").old_payload
    assert before is not None
    assert orjson.loads(before)["v"] == {"S": "old"}


def test_write_that_changes_nothing_makes_a_hidden_version_in_a_global_table() -> None:
    here = Region()
    here.put("k", "same")
    assert here.put("k", "same").lsn == 2
    assert here.bodies()[1].kind is Kind.NOOP
    assert here.streamed() == [1]


def test_write_that_changes_nothing_makes_no_version_in_a_table_of_one_region() -> None:
    here = Region(regions=(AFRICA,))
    here.put("k", "same")
    assert here.put("k", "same").lsn == 0
    assert here.replica.head_lsn == 1


def test_delete_of_an_absent_item_leaves_a_tombstone_and_no_record() -> None:
    here = Region()
    assert here.put("k", None).lsn == 1
    assert here.value("k") is None
    assert b"k" in here.state()
    assert here.streamed() == []


def test_item_moves_between_items_and_tombstones() -> None:
    here = Region()
    for value, live, deleted in (("a", 1, 0), (None, 0, 1), ("b", 1, 0)):
        here.put("k", value)
        assert (len(here.dbs.items), len(here.dbs.tombstones)) == (live, deleted)
        counted = read_statistics(here.store.read(), here.dbs, here.table.number)
        assert counted[0] == live
        assert (counted[1] > 0) is bool(live)


def test_writes_of_one_request_see_each_other() -> None:
    here = Region()
    effect = here.step(WriteRequested((here.wish("k", "a"), here.wish("k", "b")), "token"))
    assert isinstance(effect, Acknowledge)
    assert effect.token == "token"
    assert [outcome.lsn for outcome in effect.outcomes] == [1, 2]
    assert effect.outcomes[1].old_payload == here.wish("k", "a").payload


def test_request_with_one_unknown_table_changes_nothing() -> None:
    here = Region()
    elsewhere = replace(here.table, id=b"?" * 16)
    wrong = replace(here.wish("b", "2"), table=elsewhere)
    effect = here.step(WriteRequested((here.wish("a", "1"), wrong)))
    assert isinstance(effect, Refuse)
    assert isinstance(effect.error, ResourceNotFoundException)
    assert here.state() == {}
    assert here.replica.head_lsn == 0


def test_write_beats_what_it_replaces_even_from_a_clock_far_ahead() -> None:
    fast, here = Region(AMERICA, now_ms=9_000), Region(AFRICA)
    fast.put("k", "future")
    here.follow(fast)
    outcome = here.put("k", "present")
    assert outcome.hlc == fast.bodies()[0].hlc + 1
    assert here.replica.clock.value < from_ms(9_000)
    fast.follow(here)
    assert fast.value("k") == here.value("k") == "present"


def test_commit_times_do_not_go_back_with_the_wall_clock() -> None:
    here = Region(now_ms=50)
    here.put("k", "a")
    here.now_ms = 20
    here.put("k", "b")
    here.restart()
    here.put("k", "c")
    assert [entry.commit_ms for entry in here.log()] == [50, 50, 50]


# --- restart and failure


def test_restart_gives_the_same_region_again() -> None:
    here, there = Region(AFRICA, now_ms=7), Region(AMERICA)
    there.put("k", "a")
    here.follow(there)
    here.put("k", "b")
    before = here.replica
    here.now_ms = 0
    here.restart()
    after = here.replica
    assert after is not before
    assert after.clock.value == before.clock.value
    assert after.head_lsn == before.head_lsn == 2
    assert to_ms(after.clock.value) == 7
    assert (after.watermarks, after.names) == (before.watermarks, before.names)
    assert after.catalog.by_id == before.catalog.by_id
    assert here.put("k", "c").lsn == 3


def test_clock_after_a_restart_is_never_below_the_wall_clock() -> None:
    here = Region()
    here.now_ms = 1_000
    here.restart()
    assert here.replica.clock.value >= from_ms(1_000)


@pytest.mark.parametrize("puts", range(8))
def test_full_disk_leaves_everything_as_it_was(puts: int) -> None:
    here = Region()
    here.put("k", "a")
    state, log = here.state(), here.log()
    txn = here.store.write()
    here.store.puts_left = puts
    with pytest.raises(DiskFull):
        here.replica.step(txn, WriteRequested((here.wish("k", "b"), here.wish("k", "c"))), 0)
    txn.abort()
    here.restart()
    assert (here.state(), here.log()) == (state, log)
    assert here.put("k", "c").lsn == 2


def test_damaged_item_is_not_overwritten() -> None:
    here = Region()
    here.put("k", "a")
    physical = here.wish("k", None).physical
    here.dbs.items[physical] = here.dbs.items[physical][:-1] + b"?"
    with pytest.raises(Corrupt, match="item record fails its checksum"):
        here.replica.step(here.store.write(), WriteRequested((here.wish("k", "b"),)), 0)


def test_two_keys_under_one_storage_key_are_noticed() -> None:
    here = Region()
    here.put("k", "a")
    wrong = replace(here.wish("other", "b"), physical=here.wish("k", None).physical)
    with pytest.raises(Corrupt, match="two keys share the storage key"):
        here.replica.step(here.store.write(), WriteRequested((wrong,)), 0)


def test_two_origins_with_one_id_are_noticed() -> None:
    class Clash(Origin):
        @property
        def id(self) -> OriginId:
            return Origin(AFRICA, 1).id

    here = Region(AFRICA)
    with pytest.raises(Corrupt, match="origins africa#1 and asia#1 share an id"):
        here.replica.step(here.store.write(), OriginsNamed((Clash(ASIA, 1),)), 0)


# --- arrivals


def test_arrival_is_applied_and_reported() -> None:
    there, here = Region(AMERICA, now_ms=3), Region(AFRICA)
    there.put("k", "a")
    effect = here.follow(there)
    assert effect == ReportProgress(None, there.replica.origin_id, 1, 1, 3)
    assert here.state() == there.state()
    assert here.streamed() == [1]


def test_arrival_that_repeats_is_skipped() -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    there.put("k", "a")
    here.follow(there)
    there.put("k", "b")
    effect = here.step(there.arrival(0))
    assert isinstance(effect, ReportProgress)
    assert (effect.applied_lsn, effect.applied_count) == (2, 1)
    assert here.replica.counts["duplicate"] == 1
    assert len(here.log()) == 2


def test_old_arrival_does_not_move_the_watermark_back() -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    there.put("k", "a")
    old = there.arrival()
    there.put("k", "b")
    here.follow(there)
    here.step(old)
    here.restart()
    assert here.replica.watermarks == {there.replica.origin_id: 2}


def test_arrival_after_a_gap_is_refused() -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    for value in "abc":
        there.put("k", value)
    effect = here.step(OriginsNamed((there.replica.origin,)), there.arrival(2))
    assert isinstance(effect, Refuse)
    assert isinstance(effect.error, ServiceUnavailable)
    assert effect.error.message == "entries after 2 came, but only 0 is applied"
    assert here.state() == {}


def test_arrival_of_an_origin_without_a_name_is_refused() -> None:
    """Its name came in a transaction that failed; without it no stamp can be compared."""
    there, here = Region(AMERICA), Region(AFRICA)
    there.put("k", "a")
    effect = here.step(there.arrival())
    assert isinstance(effect, Refuse)
    assert isinstance(effect.error, ServiceUnavailable)
    assert effect.error.message == (
        f"entries of origin {there.replica.origin_id.hex()} came, but not its name"
    )
    assert (here.state(), here.replica.watermarks) == ({}, {})


def test_arrival_without_entries_moves_the_watermark() -> None:
    here = Region(AFRICA)
    origin = Origin(AMERICA, 1)
    here.step(OriginsNamed((origin,)), EntriesArrived(origin.id, 0, 17, ()))
    here.restart()
    assert here.replica.watermarks == {origin.id: 17}


@pytest.mark.parametrize(("prev_lsn", "through_lsn"), [(0, 1), (2, 3)])
def test_entry_outside_its_interval_is_corrupt(prev_lsn: int, through_lsn: int) -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    there.put("k", "a")
    there.put("k", "b")
    here.meet(there)
    here.step(there.arrival(0, entries_max=1))
    here.step(EntriesArrived(there.replica.origin_id, 1, 2, ()))
    entries = there.batch(1).entries
    event = EntriesArrived(there.replica.origin_id, prev_lsn, through_lsn, entries)
    with pytest.raises(Corrupt, match="entry 2 lies outside the interval it was sent in"):
        here.replica.step(here.store.write(), event, 0)


def test_entry_of_another_origin_than_its_batch_is_corrupt() -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    here.meet(there)
    there.put("k", "a")
    here.step(OriginsNamed((Origin(ASIA, 1),)))
    event = replace(there.arrival(), origin=Origin(ASIA, 1).id)
    with pytest.raises(Corrupt, match="lies outside the interval"):
        here.replica.step(here.store.write(), event, 0)


def test_entry_for_an_unknown_table_is_corrupt_and_not_skipped() -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    here.meet(there)
    there.put("k", "a")
    body = decode_body(there.batch().entries[0])._replace(table_id=b"?" * 16)
    event = replace(there.arrival(), entries=(encode_body(body),))
    with pytest.raises(Corrupt, match=r"is for table 3f3f.*, unknown in this region"):
        here.replica.step(here.store.write(), event, 0)


@pytest.mark.parametrize("kind", [Kind.COUNTER, Kind.CONTROL])
def test_entry_of_a_reserved_kind_is_corrupt_and_not_skipped(kind: Kind) -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    here.meet(there)
    there.put("k", "a")
    body = decode_body(there.batch().entries[0])._replace(kind=kind)
    event = replace(there.arrival(), entries=(encode_body(body),))
    with pytest.raises(Corrupt, match=f"is of kind {kind.name}, not understood yet"):
        here.replica.step(here.store.write(), event, 0)


def test_entry_for_a_deleted_table_is_skipped_but_counted_in_the_watermark() -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    there.put("k", "a")
    delete(here)
    effect = here.follow(there)
    assert isinstance(effect, ReportProgress)
    assert effect.applied_lsn == 1
    assert here.log() == []
    assert here.replica.counts["dead_table"] == 1


def test_version_that_was_superseded_on_the_way_stays_beaten() -> None:
    first, second, here = (Region(name) for name in REGIONS)
    first.put("k", "a")
    second.follow(first)
    second.put("k", "b")
    here.follow(second)
    here.follow(first)
    assert here.value("k") == "b"
    assert here.replica.counts["stale"] == 1
    assert [entry.visible for entry in here.log()] == [True, False]
    assert len(here.dbs.conflicts) == 0


def test_concurrent_versions_leave_the_same_winner_and_record_in_both_regions() -> None:
    one, two = Region(AFRICA, now_ms=1), Region(AMERICA, now_ms=2)
    one.put("k", "earlier")
    two.put("k", "later")
    one.follow(two)
    two.follow(one)
    assert one.state() == two.state()
    assert one.value("k") == "later"
    ids = set()
    for region in (one, two):
        (stored,) = region.dbs.conflicts.values()
        record = parse_conflict(stored)
        assert record["winner"]["image"]["v"] == {"S": "later"}
        assert record["loser"]["region"] == AFRICA
        ids.add(record["id"])
    assert len(ids) == 1
    assert (one.streamed(), two.streamed()) == ([1, 2], [1])


def test_equal_clocks_are_decided_by_the_name_of_the_region() -> None:
    one, two = Region(AFRICA), Region(ASIA)
    one.put("k", "africa")
    two.put("k", "asia")
    one.follow(two)
    two.follow(one)
    assert one.value("k") == two.value("k") == "asia"


def test_next_write_has_seen_the_loser_too() -> None:
    one, two, late = (Region(name) for name in REGIONS)
    one.put("k", "a")
    two.put("k", "b")
    two.follow(one)
    two.put("k", "c")
    late.follow(two)
    late.follow(one)
    assert len(two.dbs.conflicts) == 1
    assert len(late.dbs.conflicts) == 0


def test_received_time_is_adopted_within_the_drift_bound_only() -> None:
    there, here = Region(AMERICA, now_ms=400), Region(AFRICA)
    there.put("k", "a")
    here.follow(there)
    assert here.replica.clock.value >= from_ms(400)
    there.now_ms = 5_000
    there.put("k", "b")
    here.follow(there)
    assert here.replica.clock.value < from_ms(401)
    assert here.replica.clock.drift_rejected == 1
    assert here.value("k") == "b"


# --- tables


def delete(region: Region) -> None:
    table = region.table
    change = Change(
        "delete", DELETE, region.name, (region.name,), table.name, table.id, SCHEMA,
        table.regions, 0, None,
    )  # fmt: skip
    region.step(ChangeProposed(change))
    region.step(ChangeDecided("delete", commit=True))


def test_purge_removes_all_that_a_deleted_table_left() -> None:
    one, two = Region(AFRICA), Region(AMERICA)
    for key in "abc":
        one.put(key, "1")
        two.put(key, None)
    one.follow(two)
    assert len(one.dbs.conflicts) == 3
    delete(one)
    while one.step(PurgeDue()) == Confirm(None, more=True):
        pass
    assert not one.replica.catalog.purge_due
    for db in (one.dbs.items, one.dbs.tombstones, one.dbs.conflicts, one.dbs.stream_index):
        assert len(db) == 0
    assert not any(key.startswith(b"statistics/") for key in one.dbs.meta)


def test_purge_in_the_transaction_of_the_last_write_leaves_no_statistics() -> None:
    there, here = Region(AMERICA), Region(AFRICA)
    here.meet(there)
    there.put("k", "a")
    table = here.table
    change = Change(
        "delete", DELETE, AFRICA, (AFRICA,), table.name, table.id, SCHEMA, table.regions, 0, None
    )
    here.step(
        ChangeProposed(change), there.arrival(), ChangeDecided("delete", commit=True),
        PurgeDue(), PurgeDue(),
    )  # fmt: skip
    assert len(here.log()) == 1
    assert not any(key.startswith(b"statistics/") for key in here.dbs.meta)


def test_refused_change_is_answered_and_changes_nothing() -> None:
    here = Region()
    again = Change(
        "again", CREATE, AFRICA, (AFRICA,), "orders", b"n" * 16, SCHEMA, REGIONS, 0, None
    )
    effect = here.step(ChangeProposed(again, "token"))
    assert isinstance(effect, Refuse)
    assert effect.token == "token"
    assert here.replica.catalog.pending == {}


def test_record_of_a_table_without_a_sort_key_is_printed() -> None:
    here = Region(now_ms=12_345)
    here.put("k", "a")
    here.put("k", None)
    stream = here.table.stream
    assert stream is not None
    printer = RecordPrinter(SCHEMA, stream, "arn", AFRICA, 1)
    first, last = (orjson.loads(printer.print(n, e)[0]) for n, e in enumerate(here.log(), 1))
    assert (first["eventName"], last["eventName"]) == ("INSERT", "REMOVE")
    assert first["dynamodb"] == {
        "ApproximateCreationDateTime": 12,
        "Keys": {"pk": {"S": "k"}},
        "NewImage": {"pk": {"S": "k"}, "v": {"S": "a"}},
        "SequenceNumber": "2000000000000000000000001",
        "SizeBytes": 3 + here.wish("k", "a").size,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    assert last["dynamodb"]["OldImage"] == first["dynamodb"]["NewImage"]


# --- laws

writers = st.sampled_from([0, 1, 2])
actions = st.lists(
    st.tuples(
        writers, writers, st.sampled_from(["x", "y"]), st.sampled_from([None, "1", "2"]),
        st.sampled_from([0, 0, 1, 700]),
    ),
    max_size=12,
)  # fmt: skip


def play(steps: list[tuple[int, int, str, str | None, int]]) -> list[Region]:
    """Let regions write and follow one another as drawn."""
    regions = [Region(name) for name in REGIONS]
    for writer, source, key, value, now_ms in steps:
        region = regions[writer]
        region.now_ms = now_ms
        if source != writer:
            region.follow(regions[source])
        region.put(key, value)
    return regions


@given(actions, st.data())
def test_any_order_and_repetition_of_delivery_gives_the_same_state(
    steps: list[tuple[int, int, str, str | None, int]], data: st.DataObject
) -> None:
    regions = play(steps)
    states: list[State] = []
    for _ in range(2):
        reader = Region("oceania")
        left = [region for region in regions for _ in region.batch().entries]
        for region in data.draw(st.permutations(left)):
            reader.meet(region)
            applied = reader.replica.watermarks.get(region.replica.origin_id, 0)
            reader.step(region.arrival(data.draw(st.integers(0, applied)), entries_max=3))
        for region in regions:
            reader.follow(region)
        assert reader.replica.counts["violation"] == 0
        states.append(reader.state())
    assert states[0] == states[1]


@given(actions)
def test_regions_that_have_seen_all_hold_the_same(
    steps: list[tuple[int, int, str, str | None, int]],
) -> None:
    regions = play(steps)
    for region in regions:
        for other in regions:
            if other is not region:
                region.follow(other)
    assert all(a.state() == b.state() for a, b in pairwise(regions))
    assert all(region.replica.counts["violation"] == 0 for region in regions)


def test_table_of_the_tests_is_the_one_they_name() -> None:
    assert Region().table.id == TABLE_ID
