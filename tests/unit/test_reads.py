"""Query and scan, compared with a list that is sorted and cut."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antipodes.core import limits
from antipodes.core.attributes import normal_number
from antipodes.core.errors import Corrupt
from antipodes.core.formats import ItemRecord, encode_item
from antipodes.core.keys import ItemKey, KeyAttribute, KeySchema, physical_key
from antipodes.core.reads import Page, SortRange, digest_items, get_item, query, scan
from antipodes.core.store import Databases
from antipodes.core.tables import Table
from antipodes.core.versions import Dot
from tests.sim.store import MemoryStore
from tests.unit.test_attributes import numbers

Store = Any
"""Begins transactions: ``write(change)`` and ``read()``."""


class LmdbStore:
    def __init__(self, path: Path) -> None:
        self.env = lmdb.open(
            str(path), map_size=64 << 20, max_dbs=len(Databases._fields), sync=False
        )
        self.dbs = Databases.open(lambda name: self.env.open_db(name.encode()))

    def write(self) -> Any:
        return self.env.begin(write=True)

    @contextmanager
    def read(self) -> Iterator[Any]:
        with self.env.begin() as txn:
            yield txn

    def clear(self) -> None:
        with self.write() as txn:
            txn.drop(self.dbs.items, delete=False)


class InMemory:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.store = MemoryStore()
        self.dbs = self.store.databases()

    @contextmanager
    def write(self) -> Iterator[Any]:
        txn = self.store.write()
        yield txn
        txn.commit()

    @contextmanager
    def read(self) -> Iterator[Any]:
        yield self.store.read()


@pytest.fixture(scope="module", params=["lmdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "memory":
        yield InMemory()
        return
    made = LmdbStore(tmp_path_factory.mktemp("reads"))
    yield made
    made.env.close()


def table(kind: str | None, number: int = 7) -> Table:
    sort = None if kind is None else KeyAttribute("s", kind)
    schema = KeySchema(KeyAttribute("p", "S"), sort)
    return Table("things", bytes(16), number.to_bytes(4), schema, (), "ACTIVE", 0)


def record(key: ItemKey, size: int = 10) -> ItemRecord:
    return ItemRecord(1, Dot(b"12345678", 1), b"", 1, key, b"{}", size)


def fill(store: Store, filled: Table, keys: list[ItemKey], size: int = 10) -> None:
    with store.write() as txn:
        for key in keys:
            physical = physical_key(filled.schema, filled.number, key)
            txn.put(physical, encode_item(record(key, size)), db=store.dbs.items)


STEM = b"stem" * 100
"""As long as the part of a sort key that is kept in order."""
raw_sorts = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.lists(st.sampled_from([b"\0", b"\1", b"\xff"]), min_size=1, max_size=4).map(b"".join),
    st.integers(396, 404).flatmap(
        lambda length: st.binary(max_size=3).map(lambda tail: (STEM + STEM)[:length] + tail)
    ),
    st.integers(196, 204).map(lambda length: b"\0" * length),  # each takes two bytes
    st.just(b"\xff" * 1024),
)
number_sorts = numbers().map(lambda number: normal_number(format(number, "f")).encode())
SORTS = {"B": raw_sorts, "N": number_sorts}
ORDER: dict[str, Callable[[bytes], Any]] = {"B": bytes, "N": lambda raw: Decimal(raw.decode())}


@st.composite
def ranges(draw: st.DrawFn, kind: str, known: list[bytes]) -> SortRange:
    bound = SORTS[kind] | st.sampled_from(known or [b"1"])
    operators = ["all", "low", "high", "between"] + ["begins"] * (kind == "B")
    match draw(st.sampled_from(operators)):
        case "low":
            return SortRange(low=draw(bound), low_included=draw(st.booleans()))
        case "high":
            return SortRange(high=draw(bound), high_included=draw(st.booleans()))
        case "between":
            low, high = sorted((draw(bound), draw(bound)), key=ORDER[kind])
            return SortRange(low=low, high=high)
        case "begins":
            whole = draw(bound)
            return SortRange(begins_with=whole[: draw(st.integers(0, len(whole)))])
        case _:
            return SortRange()


def inside(asked: SortRange, order: Callable[[bytes], Any], sort: bytes) -> bool:
    if asked.begins_with is not None and not sort.startswith(asked.begins_with):
        return False
    if asked.low is not None and not (
        order(sort) > order(asked.low) or (asked.low_included and sort == asked.low)
    ):
        return False
    return asked.high is None or (
        order(sort) < order(asked.high) or (asked.high_included and sort == asked.high)
    )


@pytest.mark.parametrize("kind", ["B", "N"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_query_gives_what_a_sorted_list_gives(store: Store, kind: str, data: st.DataObject) -> None:
    sorts = data.draw(st.lists(SORTS[kind], max_size=12, unique=True))
    asked = data.draw(ranges(kind, sorts))
    forward = data.draw(st.booleans())
    limit = data.draw(st.none() | st.integers(1, 5))
    store.clear()
    filled = table(kind)
    fill(store, filled, [ItemKey(b"x", sort) for sort in sorts])
    fill(store, filled, [ItemKey(other, sort) for sort in sorts for other in (b"w", b"y")])
    fill(store, table(kind, 6), [ItemKey(b"x", b"1")])
    fill(store, table(kind, 8), [ItemKey(b"x", b"1")])
    order = ORDER[kind]
    expected = sorted(filter(lambda s: inside(asked, order, s), sorts), key=order)
    if not forward:
        expected.reverse()
    got: list[bytes] = []
    after = None
    for _ in range(len(sorts) + 2):
        with store.read() as txn:
            page = query(
                txn, store.dbs, filled, b"x", asked, forward=forward, start_after=after, limit=limit
            )
        got += [found.key.sort for found in page.records]
        assert limit is None or len(page.records) <= limit
        if page.last_key is None:
            break
        assert page.last_key == page.records[-1].key
        after = page.last_key.sort
    assert got == expected
    start = data.draw(SORTS[kind])
    with store.read() as txn:
        page = query(txn, store.dbs, filled, b"x", asked, forward=forward, start_after=start)
    behind = [s for s in expected if (order(s) > order(start)) == forward and s != start]
    assert [found.key.sort for found in page.records] == behind


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.sets(st.tuples(st.binary(min_size=1, max_size=2), raw_sorts), max_size=15),
    limit=st.none() | st.integers(1, 4),
)
def test_scan_gives_every_item_once(
    store: Store, keys: set[tuple[bytes, bytes]], limit: int | None
) -> None:
    store.clear()
    filled = table("B")
    wanted = {ItemKey(*key) for key in keys}
    fill(store, filled, list(wanted))
    for neighbour in (6, 8):
        fill(store, table("B", neighbour), [ItemKey(b"x", b"1")])
    got: list[ItemKey] = []
    after = None
    for _ in range(len(keys) + 2):
        with store.read() as txn:
            page = scan(txn, store.dbs, filled, start_after=after, limit=limit)
        got += [found.key for found in page.records]
        after = page.last_key
        if after is None:
            break
    assert sorted(got) == sorted(wanted)


def all_pages(store: Store, filled: Table, forward: bool, limit: int) -> list[bytes]:
    got, after = [], None
    while True:
        with store.read() as txn:
            page = query(
                txn, store.dbs, filled, b"x", SortRange(), forward=forward, start_after=after,
                limit=limit,
            )  # fmt: skip
        got += [found.key.sort for found in page.records]
        if page.last_key is None:
            return got
        after = page.last_key.sort


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_run_of_keys_with_an_equal_beginning_is_sorted_and_paged(store: Store, limit: int) -> None:
    store.clear()
    filled = table("S")
    sorts = [STEM + f"{number:03}".encode() for number in range(60)]
    sorts += [STEM, STEM[:399], STEM[:398], STEM[:399] + b"a", STEM[:399] + b"z", b"t", b"s"]
    fill(store, filled, [ItemKey(b"x", sort) for sort in sorts])
    assert all_pages(store, filled, True, limit) == sorted(sorts)
    assert all_pages(store, filled, False, limit) == sorted(sorts, reverse=True)


def test_page_ends_when_it_has_a_mebibyte(store: Store) -> None:
    store.clear()
    filled = table("S")
    fill(store, filled, [ItemKey(b"x", b"%d" % n) for n in range(9)], size=300_000)
    with store.read() as txn:
        page = query(txn, store.dbs, filled, b"x", SortRange())
        assert [r.key.sort for r in page.records] == [b"0", b"1", b"2", b"3"]
        assert page.last_key == ItemKey(b"x", b"3")
        assert sum(r.size for r in page.records[:-1]) < limits.PAGE_BYTES_MAX
        assert len(scan(txn, store.dbs, filled).records) == 4


def test_empty_table_gives_an_empty_last_page(store: Store) -> None:
    store.clear()
    with store.read() as txn:
        for forward in (True, False):
            page = query(txn, store.dbs, table("S"), b"x", SortRange(), forward=forward)
            assert page == Page([], None)
        assert scan(txn, store.dbs, table("S")) == Page([], None)
        assert get_item(txn, store.dbs, table("S"), ItemKey(b"x", b"1")) is None


def test_record_under_the_storage_key_of_another_is_not_served(store: Store) -> None:
    store.clear()
    filled = table("S")
    mine, other = ItemKey(b"x", b"1"), ItemKey(b"x", b"2")
    with store.write() as txn:
        physical = physical_key(filled.schema, filled.number, mine)
        txn.put(physical, encode_item(record(other)), db=store.dbs.items)
    with store.read() as txn, pytest.raises(Corrupt, match="share the storage key"):
        get_item(txn, store.dbs, filled, mine)


def test_digest_depends_on_content_and_version_but_not_on_order() -> None:
    records = [record(ItemKey(b"x", b"%d" % n)) for n in range(3)]
    digests = {digest_items(list(order)) for order in itertools.permutations(records)}
    assert len(digests) == 1
    changed = [
        records[0]._replace(hlc=2), records[0]._replace(dot=Dot(b"12345678", 2)),
        records[0]._replace(payload=b"{ }"), records[0]._replace(key=ItemKey(b"x1", b"0")),
        records[0]._replace(key=ItemKey(b"x0", b"")),
    ]  # fmt: skip
    for other in changed:
        digests.add(digest_items([other, *records[1:]]))
    assert len(digests) == 1 + len(changed)


def test_tombstone_is_shown_only_when_asked_for(store: Store) -> None:
    store.clear()
    filled = table(None)
    key = ItemKey(b"x", b"")
    with store.write() as txn:
        physical = physical_key(filled.schema, filled.number, key)
        tombstone = record(key)._replace(payload=None, size=0)
        txn.put(physical, encode_item(tombstone), db=store.dbs.tombstones)
    with store.read() as txn:
        assert get_item(txn, store.dbs, filled, key) is None
        assert get_item(txn, store.dbs, filled, key, deleted=True) == tombstone
