"""Both ends of a tail: intervals without gaps, and an answer to everything that can arrive."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.formats import Cause, EntryBody, Kind, encode_body, peek_dot, peek_transaction
from antipodes.core.keys import ItemKey
from antipodes.core.limits import REPLICATION_UNACKNOWLEDGED_BYTES_MAX
from antipodes.core.replication import EntriesArrived, OriginsNamed
from antipodes.core.tailing import (
    APPLY_TRIES_MAX,
    PROTOCOL_VERSION,
    RETRY_MS_MAX,
    RETRY_MS_MIN,
    Apply,
    Batch,
    Disconnect,
    Heartbeat,
    Hello,
    Learn,
    LinkState,
    Progress,
    Reject,
    RejectReason,
    Stop,
    TailReceiver,
    TailSender,
    Welcome,
    check_hello,
    checksum,
    log_head,
    origin_head,
    read_batch,
    split,
)
from antipodes.core.versions import Dot, Origin
from tests.sim.region import TABLE_ID, Region

ME, PEER = Origin("africa", 1), Origin("asia", 1)
OTHER_TABLE = b"\xff" * 16


def entry(lsn: int, index: int = 0, count: int = 0, table_id: bytes = TABLE_ID) -> bytes:
    return encode_body(
        EntryBody(
            Kind.PUT, Cause.USER, 0, 0, Dot(PEER.id, lsn), 0, table_id, bytes(16), index, count,
            b"", ItemKey(b"k%d" % lsn, b""), b"{}", 2,
        )
    )  # fmt: skip


def batch(prev_lsn: int, through_lsn: int, *lsns: int) -> Batch:
    entries = tuple(entry(lsn) for lsn in lsns)
    return Batch(prev_lsn, through_lsn, entries, checksum(prev_lsn, through_lsn, entries))


def heartbeat(head_lsn: int, origin_head_lsn: int | None = None) -> Heartbeat:
    return Heartbeat(head_lsn, head_lsn if origin_head_lsn is None else origin_head_lsn, 0, 0)


# --- reading the log

logs = st.lists(
    st.tuples(st.sampled_from(["own", "own", "hidden", "foreign"]), st.integers(1, 4)), max_size=12
)
"""Runs of entries: own transactions of so many entries, own ones of a table that the receiver does
not hold, and entries of another origin."""


def region_with_log(runs: list[tuple[str, int]]) -> Region:
    region = Region("asia")
    txn = region.store.write()
    lsn = 0
    for what, count in runs:
        for index in range(count):
            lsn += 1
            body = entry(lsn, index, count, OTHER_TABLE if what == "hidden" else TABLE_ID)
            origin = Origin("america", 1).id if what == "foreign" else PEER.id
            position = lsn.to_bytes(8)
            # Only the body counts here; a stored entry has a head of 22 bytes before it.
            head = bytes(18) + len(body).to_bytes(4)
            txn.put(position, head + body, append=True, db=region.dbs.log)
            txn.put(origin + position, position, db=region.dbs.log_by_origin)
    txn.commit()
    return region


def read(region: Region, after_lsn: int, bytes_max: int, entries_max: int) -> Batch:
    return read_batch(
        region.store.read(), region.dbs, PEER.id, after_lsn, lambda id: id == TABLE_ID,
        bytes_max=bytes_max, entries_max=entries_max,
    )  # fmt: skip


@given(logs, st.sampled_from([1, 300, 10**6]), st.integers(1, 5))
def test_batches_follow_without_gap_and_hold_each_own_entry_once(
    runs: list[tuple[str, int]], bytes_max: int, entries_max: int
) -> None:
    region = region_with_log(runs)
    head = log_head(region.store.read(), region.dbs)
    batches = [read(region, 0, bytes_max, entries_max)]
    while batches[-1].through_lsn < head:
        batches.append(read(region, batches[-1].through_lsn, bytes_max, entries_max))
        assert batches[-1].through_lsn > batches[-1].prev_lsn
    assert all(a.through_lsn == b.prev_lsn for a, b in pairwise(batches))
    lsn = 0
    expected = []
    for what, count in runs:
        expected += [lsn + n for n in range(1, count + 1) if what == "own"]
        lsn += count
    sent = [peek_dot(sent)[1] for b in batches for sent in b.entries]
    assert sent == expected
    for b in batches:
        assert b.crc32c == checksum(b.prev_lsn, b.through_lsn, b.entries)
        assert all(b.prev_lsn < peek_dot(sent)[1] <= b.through_lsn for sent in b.entries)
        if b.entries:
            index, count = peek_transaction(b.entries[-1])
            assert index + 1 == count, "a transaction is cut"


def test_batch_of_an_empty_log_reaches_nowhere() -> None:
    region = Region("asia")
    assert read(region, 0, 1, 1) == Batch(0, 0, (), checksum(0, 0, ()))
    assert log_head(region.store.read(), region.dbs) == 0


@pytest.mark.parametrize("origin", [bytes(8), b"\x7f" * 8, b"\xff" * 8])
@pytest.mark.parametrize("neighbours", [(), (b"\0" * 7 + b"\x01",), (b"\xff" * 7 + b"\xfe",)])
def test_newest_entry_of_an_origin_is_found_among_others(
    origin: bytes, neighbours: tuple[bytes, ...]
) -> None:
    region = Region()
    txn = region.store.write()
    for lsn, other in enumerate(neighbours, 7):
        txn.put(other + lsn.to_bytes(8), bytes(8), db=region.dbs.log_by_origin)
    assert origin_head(txn, region.dbs, origin) == 0
    for lsn in (1, 300):
        txn.put(origin + lsn.to_bytes(8), bytes(8), db=region.dbs.log_by_origin)
        assert origin_head(txn, region.dbs, origin) == lsn


def test_checksum_is_over_the_interval_and_all_entries_in_order() -> None:
    assert checksum(1, 2, (b"ab", b"c")) == checksum(1, 2, (b"abc",))
    assert checksum(1, 2, (b"c", b"ab")) != checksum(1, 2, (b"abc",))
    assert checksum(1, 3, (b"abc",)) != checksum(1, 2, (b"abc",))
    assert checksum(0, 2, (b"abc",)) != checksum(1, 2, (b"abc",))


# --- splitting


@given(st.lists(st.integers(1, 4), max_size=8), st.integers(1, 6), st.integers(0, 3), st.booleans())
def test_split_covers_the_interval_and_never_cuts_a_transaction(
    transactions: list[int], entries_max: int, beyond: int, alone: bool
) -> None:
    entries = [
        entry(0, *((0, 0) if alone and count == 1 else (index, count)))
        for count in transactions
        for index in range(count)
    ]
    numbered = tuple(entry(lsn, *peek_transaction(body)) for lsn, body in enumerate(entries, 11))
    event = EntriesArrived(PEER.id, 10, 10 + len(numbered) + beyond, numbered, "token")
    parts = list(split(event, entries_max))
    assert (parts[0].prev_lsn, parts[-1].through_lsn) == (10, event.through_lsn)
    assert all(a.through_lsn == b.prev_lsn for a, b in pairwise(parts))
    assert tuple(body for part in parts for body in part.entries) == numbered
    for part in parts:
        assert (part.origin, part.token) == (PEER.id, "token")
        assert all(part.prev_lsn < peek_dot(b)[1] <= part.through_lsn for b in part.entries)
    for part in parts[1:]:
        assert peek_transaction(part.entries[0])[0] == 0
    if all(count == 1 for count in transactions):
        assert all(len(part.entries) <= entries_max for part in parts)


def test_arrival_without_entries_is_one_part() -> None:
    event = EntriesArrived(PEER.id, 3, 9, ())
    assert list(split(event, 1)) == [event]


# --- the origin's end

HELLO = Hello(PROTOCOL_VERSION, "c", ME, PEER, 5)


def answer(hello: Hello) -> Reject | None:
    return check_hello(hello, "c", PEER, frozenset({"africa", "asia"}), head_lsn=5)


@pytest.mark.parametrize("incarnation", [0, 1])
def test_receiver_that_fits_is_served(incarnation: int) -> None:
    assert answer(replace(HELLO, origin=Origin("asia", incarnation))) is None


@pytest.mark.parametrize(
    ("hello", "reason", "message"),
    [
        (
            replace(HELLO, protocol_version=9),
            RejectReason.PROTOCOL_VERSION,
            "region africa speaks replication protocol 9, region asia speaks 1;"
            " upgrade the older one",
        ),
        (
            replace(HELLO, cluster_id="other"),
            RejectReason.CLUSTER_MISMATCH,
            "region africa belongs to cluster 'other', region asia to cluster 'c';"
            " check the peer addresses of both",
        ),
        (
            replace(HELLO, origin=Origin("europe", 1)),
            RejectReason.WRONG_REGION,
            "region africa dialled europe but reached asia; correct its peer address",
        ),
        (
            replace(HELLO, receiver=Origin("mars", 1)),
            RejectReason.UNKNOWN_MEMBER,
            "region mars is not a peer of region asia; add --peer mars=HOST:PORT there",
        ),
        (
            replace(HELLO, origin=Origin("asia", 2)),
            RejectReason.INCARNATION_UNKNOWN,
            "region africa follows asia#2, this is asia#1: its data directory was replaced",
        ),
        (
            replace(HELLO, after_lsn=6),
            RejectReason.AMNESIA_SUSPECTED,
            "region africa has position 6 of asia#1, whose log ends at 5: the data directory of"
            " asia is older than what it has sent; restore the newest one",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, RejectReason) else "",
)
def test_receiver_that_does_not_fit_is_told_why(
    hello: Hello, reason: RejectReason, message: str
) -> None:
    assert answer(hello) == Reject(reason, message)


def sender_of(region: Region) -> TailSender:
    return TailSender(replace(HELLO, after_lsn=0), region.replica.origin)


def next_batch(sender: TailSender, region: Region, *, even_empty: bool = False) -> Batch | None:
    return sender.next_batch(
        region.store.read(), region.dbs, lambda _: True, region.replica.names,
        even_empty=even_empty, entries_max=1,
    )  # fmt: skip


def test_sender_sends_one_interval_after_the_other() -> None:
    region = Region("asia")
    sender = sender_of(region)
    assert next_batch(sender, region) is None
    region.put("a", "1")
    region.put("b", "2")
    assert sender.welcome(region.replica.origin, dict(region.replica.names)) == Welcome(
        PEER, (PEER,)
    )
    batches = [next_batch(sender, region), next_batch(sender, region)]
    assert [(b.prev_lsn, b.through_lsn) for b in batches if b] == [(0, 1), (1, 2)]
    assert next_batch(sender, region, even_empty=True) is None


def test_sender_passes_over_foreign_entries_with_heartbeats_only() -> None:
    region, other = Region("asia"), Region("europe")
    other.put("k", "1")
    sender = sender_of(region)
    region.follow(other)
    assert next_batch(sender, region) is None
    empty = next_batch(sender, region, even_empty=True)
    assert empty is not None
    assert (empty.prev_lsn, empty.through_lsn, empty.entries) == (0, 1, ())


def test_sender_names_origins_it_met_since_the_welcome_once() -> None:
    region, other = Region("asia"), Region("europe")
    sender = sender_of(region)
    sender.welcome(region.replica.origin, dict(region.replica.names))
    other.put("k", "1")
    region.follow(other)
    region.put("k", "2")
    region.put("k", "3")
    first, second = next_batch(sender, region), next_batch(sender, region)
    assert first is not None
    assert second is not None
    assert first.known_origins == (other.replica.origin,)
    assert second.known_origins == ()


def test_sender_waits_while_its_window_is_full() -> None:
    region = Region("asia")
    region.put("k", "x" * REPLICATION_UNACKNOWLEDGED_BYTES_MAX)
    region.put("k", "y")
    sender = sender_of(region)
    first = next_batch(sender, region)
    assert first is not None
    assert next_batch(sender, region) is None
    sender.progressed(Progress((), first.size_bytes))
    sender.progressed(Progress((), 0))
    assert sender.has_room
    second = next_batch(sender, region)
    assert second is not None
    assert (second.prev_lsn, second.through_lsn) == (1, 2)


# --- the receiver's end


def receiver_at(applied_lsn: int) -> TailReceiver:
    receiver = TailReceiver("c", ME, "asia")
    receiver.connected(applied_lsn, PEER)
    receiver.arrived(Welcome(PEER, ()), 0)
    return receiver


def test_receiver_says_where_to_go_on() -> None:
    receiver = TailReceiver("c", ME, "asia")
    assert receiver.connected(0, None) == Hello(1, "c", ME, Origin("asia", 0), 0)
    assert receiver.connected(7, PEER) == Hello(1, "c", ME, PEER, 7)


def test_welcome_names_origins_before_their_entries() -> None:
    receiver = TailReceiver("c", ME, "asia")
    receiver.connected(0, None)
    other = Origin("europe", 1)
    assert receiver.arrived(Welcome(PEER, (other,)), 0) == [Learn(OriginsNamed((PEER, other)))]
    assert receiver.state is LinkState.CATCHING_UP


def test_batch_that_follows_is_applied() -> None:
    b = batch(5, 8, 6, 8)
    event = EntriesArrived(PEER.id, 5, 8, b.entries)
    assert receiver_at(5).arrived(b, 0) == [Apply(event, b.size_bytes)]


def test_batch_that_overlaps_is_applied_from_where_the_replica_is() -> None:
    b = batch(3, 8, 4, 6, 8)
    event = EntriesArrived(PEER.id, 3, 8, b.entries)
    assert receiver_at(5).arrived(b, 0) == [Apply(event, b.size_bytes)]


def test_batch_that_repeats_is_ignored_and_counts_as_received() -> None:
    receiver = receiver_at(5)
    b = batch(2, 5, 3, 4)
    assert receiver.arrived(b, 0) == []
    assert receiver.progress(()).acknowledged_bytes == b.size_bytes


def test_batch_after_a_gap_ends_the_connection() -> None:
    assert receiver_at(5).arrived(batch(6, 8, 7), 0) == [
        Disconnect("gap: have 5, got entries after 6")
    ]


def test_batches_follow_what_was_received_not_what_is_applied() -> None:
    receiver = receiver_at(0)
    receiver.arrived(batch(0, 2, 1, 2), 0)
    assert isinstance(receiver.arrived(batch(2, 3, 3), 0)[0], Apply)
    assert receiver.applied_lsn == 0


def test_batch_with_a_wrong_checksum_ends_the_connection() -> None:
    b = replace(batch(5, 8, 6), crc32c=1)
    receiver = receiver_at(5)
    assert receiver.arrived(b, 0) == [Disconnect("a batch failed its checksum")]
    assert receiver.received_lsn == 5


def test_batch_names_new_origins_before_its_entries() -> None:
    other = Origin("europe", 1)
    learn, apply = receiver_at(5).arrived(replace(batch(5, 6, 6), known_origins=(other,)), 0)
    assert learn == Learn(OriginsNamed((other,)))
    assert isinstance(apply, Apply)


def test_heartbeat_of_an_origin_that_forgot_stops_the_tail() -> None:
    receiver = receiver_at(5)
    problem = "asia has lost data: its log ends at 4, this region has applied up to 5"
    assert receiver.arrived(heartbeat(4), 0) == [Stop(problem)]
    assert receiver.state is LinkState.STOPPED
    assert receiver.last_error == problem
    receiver.lost("", Random(0))
    assert receiver.state is LinkState.STOPPED


def test_suspicion_of_amnesia_stops_the_tail() -> None:
    receiver = receiver_at(5)
    reject = Reject(RejectReason.AMNESIA_SUSPECTED, "older disk")
    assert receiver.arrived(reject, 0) == [Stop("older disk")]
    assert receiver.state is LinkState.STOPPED


@pytest.mark.parametrize(
    "reason",
    [r for r in RejectReason if r is not RejectReason.AMNESIA_SUSPECTED],
    ids=lambda reason: str(reason.name),
)
def test_any_other_rejection_is_tried_again(reason: RejectReason) -> None:
    receiver = receiver_at(5)
    assert receiver.arrived(Reject(reason, "why"), 0) == [Disconnect("why")]
    receiver.lost("why", Random(0))
    assert receiver.state is LinkState.CONNECTING
    assert receiver.last_error == "why"


def test_tail_is_synced_once_it_has_all_that_the_first_heartbeat_told() -> None:
    receiver = receiver_at(0)
    receiver.arrived(heartbeat(9, origin_head_lsn=7), 100)
    assert (receiver.synced, receiver.lag_records) == (False, 7)
    assert receiver.lag_ms(250) == 150
    receiver.arrived(batch(0, 7, 7), 0)
    receiver.applied(7, 1, 10, newest_wall_ms=260, now_ms=300)
    assert (receiver.synced, receiver.state) == (True, LinkState.TAILING)
    assert (receiver.lag_records, receiver.lag_ms(1_000)) == (0, 40)


def test_tail_that_was_synced_stays_so_over_a_reconnection() -> None:
    receiver = receiver_at(7)
    receiver.arrived(heartbeat(7), 0)
    assert receiver.synced
    receiver.lost("cut", Random(0))
    receiver.connected(7, PEER)
    receiver.arrived(Welcome(PEER, ()), 0)
    assert receiver.synced
    assert receiver.state is LinkState.CATCHING_UP


def test_acknowledged_bytes_begin_at_zero_with_each_connection() -> None:
    receiver = receiver_at(0)
    receiver.applied(3, 3, 500, 0, 0)
    assert receiver.progress(()) == Progress((), 500)
    receiver.connected(3, PEER)
    assert receiver.progress(()) == Progress((), 0)


def test_delay_is_not_negative_when_the_clock_of_the_origin_is_ahead() -> None:
    receiver = receiver_at(0)
    receiver.applied(1, 1, 0, newest_wall_ms=900, now_ms=100)
    assert receiver.delay_ms == 0


def test_batch_that_cannot_be_applied_stops_the_tail_after_some_tries() -> None:
    receiver = receiver_at(0)
    for _ in range(APPLY_TRIES_MAX - 1):
        assert receiver.apply_failed("bad") == Disconnect("bad")
    assert receiver.apply_failed("bad") == Stop("entries of asia cannot be applied: bad")


def test_success_forgives_earlier_failures_to_apply() -> None:
    receiver = receiver_at(0)
    for _ in range(3 * APPLY_TRIES_MAX):
        assert isinstance(receiver.apply_failed("bad"), Disconnect)
        receiver.applied(1, 1, 0, 0, 0)


def test_retries_wait_longer_each_time_up_to_a_bound() -> None:
    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            assert a == RETRY_MS_MIN / 2
            return b

    receiver = TailReceiver("c", ME, "asia")
    waits = [receiver.lost("refused", Longest()) for _ in range(9)]
    assert waits[:3] == [RETRY_MS_MIN, 2 * RETRY_MS_MIN, 4 * RETRY_MS_MIN]
    assert waits[-1] == RETRY_MS_MAX
    receiver.arrived(Welcome(PEER, ()), 0)
    assert receiver.lost("cut", Longest()) == RETRY_MS_MIN


def test_rejection_by_a_misconfigured_peer_is_retried_slowly_from_the_start() -> None:
    receiver = receiver_at(0)
    receiver.arrived(Reject(RejectReason.CLUSTER_MISMATCH, "other cluster"), 0)
    assert receiver.lost("other cluster", Random(1)) > RETRY_MS_MIN
