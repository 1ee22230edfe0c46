"""Changes of tables in two phases: what each step makes durable, and what is refused, in words."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
from sortedcontainers import SortedDict

from antipodes.core.catalog import (
    ADD_REPLICAS,
    COMMITTED,
    CREATE,
    DELETE,
    PREPARED,
    Catalog,
    Change,
    PendingChange,
    readable,
    writable,
)
from antipodes.core.errors import (
    AntipodesError,
    ResourceInUseException,
    ResourceNotFoundException,
    ServiceUnavailable,
    ValidationException,
)
from antipodes.core.keys import KeyAttribute, KeySchema
from antipodes.core.tables import GLOBAL_VIEW_TYPE, Table
from tests.sim.store import MemoryStore

HERE, THERE, ELSEWHERE = "africa", "america", "asia"
SCHEMA = KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "N"))
CHANGE = Change(
    "c-1", CREATE, HERE, (HERE, THERE), "orders", b"1" * 16, SCHEMA, (HERE, THERE), 77,
    GLOBAL_VIEW_TYPE,
)  # fmt: skip
ALONE = replace(CHANGE, participants=(HERE,), regions=(HERE,), view_type=None)
EXTEND = replace(CHANGE, id="c-2", kind=ADD_REPLICAS)
REMOVE = replace(CHANGE, id="c-3", kind=DELETE, view_type=None)


class Tables:
    """A catalog over memory; every step is a transaction."""

    def __init__(self, region: str = HERE) -> None:
        self.region = region
        self.store = MemoryStore()
        self.dbs = self.store.databases()
        self.reload()

    def reload(self) -> None:
        """Read everything from storage, as after a crash."""
        self.catalog = Catalog(self.region, self.dbs)
        self.catalog.load(self.store.read())

    def prepare(self, change: Change, head_lsn: int = 0) -> None:
        txn = self.store.write()
        try:
            self.catalog.prepare(txn, change, head_lsn, 1_000)
        except AntipodesError:
            txn.abort()
            raise
        txn.commit()
        self.reload()

    def decide(self, change: Change, *, commit: bool, head_lsn: int = 0) -> None:
        txn = self.store.write()
        self.catalog.decide(txn, change.id, commit, head_lsn, 1_000)
        txn.commit()
        self.reload()

    def confirm(self, change: Change, region: str) -> None:
        txn = self.store.write()
        self.catalog.confirm(txn, change.id, region)
        txn.commit()
        self.reload()

    def carry_out(self, change: Change) -> None:
        """Do a whole change, confirmations included."""
        self.prepare(change)
        self.decide(change, commit=True)
        for region in change.participants:
            self.confirm(change, region)

    @property
    def only(self) -> Table:
        (table,) = self.catalog.by_id.values()
        return table

    @property
    def images(self) -> tuple[SortedDict, SortedDict]:
        return SortedDict(self.dbs.tables), SortedDict(self.dbs.changes)


@pytest.fixture
def tables() -> Tables:
    return Tables()


# --- the two phases


def test_prepared_table_is_being_created_and_its_stream_open(tables: Tables) -> None:
    tables.prepare(CHANGE, head_lsn=41)
    table = tables.only
    assert (table.name, table.status, table.regions) == ("orders", "CREATING", (HERE, THERE))
    assert table.schema == SCHEMA
    assert table.created_ms == 77
    assert table.stream is not None
    assert {shard.starting_lsn for shard in table.stream.shards} == {42}
    assert tables.catalog.pending == {"c-1": PendingChange(CHANGE, PREPARED)}


def test_committed_table_is_active_and_the_coordinator_waits_for_the_others(
    tables: Tables,
) -> None:
    tables.prepare(CHANGE)
    tables.decide(CHANGE, commit=True)
    assert tables.only.status == "ACTIVE"
    assert tables.catalog.pending == {"c-1": PendingChange(CHANGE, COMMITTED, (THERE,))}


def test_last_confirmation_ends_the_change(tables: Tables) -> None:
    change = replace(CHANGE, participants=(HERE, THERE, ELSEWHERE))
    tables.prepare(change)
    tables.decide(change, commit=True)
    for region in (ELSEWHERE, ELSEWHERE, HERE):
        tables.confirm(change, region)
        assert tables.catalog.pending["c-1"].unconfirmed == (THERE,)
    tables.confirm(change, THERE)
    assert tables.catalog.pending == {}
    tables.confirm(change, THERE)


def test_participant_that_has_committed_forgets_the_change() -> None:
    participant = Tables(THERE)
    participant.prepare(CHANGE)
    participant.decide(CHANGE, commit=True)
    assert participant.only.status == "ACTIVE"
    assert participant.catalog.pending == {}


def test_coordinator_without_others_forgets_the_change_at_once(tables: Tables) -> None:
    tables.prepare(ALONE)
    tables.decide(ALONE, commit=True)
    assert tables.catalog.pending == {}
    assert tables.only.stream is None


def test_confirmation_of_a_change_that_is_not_decided_is_ignored(tables: Tables) -> None:
    tables.prepare(CHANGE)
    tables.confirm(CHANGE, THERE)
    assert tables.catalog.pending == {"c-1": PendingChange(CHANGE, PREPARED)}


def test_aborted_creation_leaves_no_table_and_its_id_is_never_used_again(tables: Tables) -> None:
    tables.prepare(CHANGE)
    tables.decide(CHANGE, commit=False)
    assert tables.catalog.by_id == {}
    assert tables.catalog.pending == {}
    assert tables.catalog.dead == {CHANGE.table_id}
    with pytest.raises(ResourceInUseException, match="the id of table orders was used before"):
        tables.prepare(replace(CHANGE, id="c-9"))


def test_steps_that_repeat_change_nothing(tables: Tables) -> None:
    tables.prepare(CHANGE)
    prepared = tables.images
    tables.prepare(CHANGE)
    assert tables.images == prepared
    tables.decide(CHANGE, commit=True)
    decided = tables.images
    tables.decide(CHANGE, commit=True)
    tables.decide(CHANGE, commit=False)
    assert tables.images == decided


def test_decision_about_an_unknown_change_is_ignored(tables: Tables) -> None:
    tables.decide(CHANGE, commit=True)
    assert tables.catalog.by_id == {}


def test_every_change_of_the_catalog_raises_its_generation(tables: Tables) -> None:
    before = tables.catalog.generation
    txn = tables.store.write()
    tables.catalog.prepare(txn, CHANGE, 0, 0)
    prepared = tables.catalog.generation
    tables.catalog.decide(txn, CHANGE.id, True, 0, 0)
    assert before < prepared < tables.catalog.generation


def test_tables_get_different_numbers(tables: Tables) -> None:
    tables.carry_out(CHANGE)
    tables.carry_out(replace(CHANGE, id="c-8", name="users", table_id=b"2" * 16))
    numbers = [table.number for table in tables.catalog.by_id.values()]
    assert numbers == [b"\0\0\0\1", b"\0\0\0\2"]


# --- deleting


def test_table_that_is_deleted_can_be_kept_or_removed(tables: Tables) -> None:
    tables.carry_out(CHANGE)
    tables.prepare(REMOVE)
    assert tables.only.status == "DELETING"
    tables.decide(REMOVE, commit=False)
    assert tables.only.status == "ACTIVE"
    tables.carry_out(REMOVE)
    assert tables.catalog.by_id == {}
    assert tables.catalog.dead == {CHANGE.table_id}
    assert tables.catalog.purge_due


def test_name_of_a_deleted_table_is_free_again(tables: Tables) -> None:
    tables.carry_out(CHANGE)
    tables.carry_out(REMOVE)
    tables.carry_out(replace(CHANGE, id="c-8", table_id=b"2" * 16))
    assert tables.only.id == b"2" * 16


# --- extending


def test_table_that_is_extended_gets_regions_and_a_stream(tables: Tables) -> None:
    tables.carry_out(ALONE)
    tables.prepare(EXTEND)
    assert (tables.only.status, tables.only.regions) == ("UPDATING", (HERE,))
    tables.decide(EXTEND, commit=True, head_lsn=9)
    assert (tables.only.status, tables.only.regions) == ("ACTIVE", (HERE, THERE))
    assert tables.only.stream is not None
    assert tables.only.stream.view_type == GLOBAL_VIEW_TYPE
    assert tables.only.stream.shards[0].starting_lsn == 10


def test_extension_that_is_given_up_leaves_the_table_as_it_was(tables: Tables) -> None:
    tables.carry_out(ALONE)
    before = tables.only
    tables.prepare(EXTEND)
    tables.decide(EXTEND, commit=False)
    assert tables.only == before


def test_region_that_a_table_is_extended_to_creates_it() -> None:
    added = Tables(THERE)
    added.prepare(EXTEND)
    assert added.only.status == "CREATING"
    added.decide(EXTEND, commit=True)
    assert (added.only.status, added.only.regions) == ("ACTIVE", (HERE, THERE))


def test_region_that_a_table_is_not_extended_to_after_all_forgets_it() -> None:
    added = Tables(THERE)
    added.prepare(EXTEND)
    added.decide(EXTEND, commit=False)
    assert added.catalog.by_id == {}


@pytest.mark.parametrize("database", ["items", "tombstones"])
def test_table_with_data_is_not_extended(tables: Tables, database: str) -> None:
    tables.carry_out(ALONE)
    getattr(tables.dbs, database)[tables.only.number + b"k"] = b"?"
    with pytest.raises(ValidationException) as caught:
        tables.prepare(EXTEND)
    assert str(caught.value) == (
        "Table orders has data in region africa: a replica can be added only before the first"
        " write, because existing items are not copied to it yet. Create the table with its"
        " replicas, or add them while it is empty."
    )
    assert tables.only.status == "ACTIVE"


# --- refusals


def test_name_that_is_taken_is_refused(tables: Tables) -> None:
    tables.carry_out(CHANGE)
    again = replace(CHANGE, id="c-8", table_id=b"2" * 16)
    with pytest.raises(ResourceInUseException) as caught:
        tables.prepare(again)
    assert str(caught.value) == "Table already exists: orders"
    with pytest.raises(ResourceInUseException) as caught:
        tables.prepare(replace(again, coordinator=THERE))
    assert str(caught.value) == "Table already exists: orders in region africa"


@pytest.mark.parametrize(
    ("under_way", "participle"),
    [(CHANGE, "created"), (EXTEND, "updated"), (REMOVE, "deleted")],
    ids=["creating", "updating", "deleting"],
)
def test_table_under_change_is_refused(tables: Tables, under_way: Change, participle: str) -> None:
    if under_way is not CHANGE:
        tables.carry_out(ALONE)
    tables.prepare(under_way)
    in_use = "Attempt to change a resource which is still in use: Table is being"
    again = replace(CHANGE, id="c-8", table_id=b"2" * 16)
    with pytest.raises(ResourceInUseException) as caught:
        tables.prepare(again)
    assert str(caught.value) == f"{in_use} {participle}: orders"
    with pytest.raises(ResourceInUseException) as caught:
        tables.prepare(replace(again, coordinator=THERE))
    assert str(caught.value) == f"{in_use} {participle}: orders in region africa"
    with pytest.raises(ResourceInUseException) as caught:
        tables.prepare(replace(REMOVE, id="c-9"))
    assert str(caught.value) == f"{in_use} {participle}: orders"


def test_table_to_delete_that_is_not_here_is_refused(tables: Tables) -> None:
    with pytest.raises(ResourceNotFoundException) as caught:
        tables.prepare(REMOVE)
    assert str(caught.value) == (
        "Requested resource not found: Table: orders not found in region africa"
    )


@pytest.mark.parametrize(
    ("status", "reads", "writes"),
    [
        ("CREATING", ResourceNotFoundException, ResourceNotFoundException),
        ("ACTIVE", None, None),
        ("UPDATING", None, ServiceUnavailable),
        ("DELETING", ResourceNotFoundException, ResourceNotFoundException),
        (None, ResourceNotFoundException, ResourceNotFoundException),
    ],
)
def test_status_decides_who_may_read_and_write(
    status: str | None,
    reads: type[AntipodesError] | None,
    writes: type[AntipodesError] | None,
) -> None:
    table = None
    if status is not None:
        table = Table("orders", b"1" * 16, b"\0\0\0\1", SCHEMA, (HERE,), status, 0)
    with nullcontext() if reads is None else pytest.raises(reads):
        assert readable(table) is table
    with nullcontext() if writes is None else pytest.raises(writes):
        assert writable(table, "orders") is table


def test_refused_access_says_why() -> None:
    table = Table("orders", b"1" * 16, b"\0\0\0\1", SCHEMA, (HERE,), "UPDATING", 0)
    with pytest.raises(ServiceUnavailable, match="Table orders is being extended to another reg"):
        writable(table, "orders")
    with pytest.raises(ResourceNotFoundException, match=r"^Requested resource not found$"):
        readable(None)


# --- on disk and on the wire


@pytest.mark.parametrize(
    "change", [CHANGE, ALONE, EXTEND, REMOVE], ids=["global", "local", "extend", "delete"]
)
def test_change_reads_back(change: Change) -> None:
    pending = PendingChange(change, COMMITTED, (THERE,))
    assert Change.from_dict(change.to_dict()) == change
    assert PendingChange.from_json(pending.to_json()) == pending


def test_change_of_another_format_is_refused() -> None:
    with pytest.raises(ValidationException) as caught:
        Change.from_dict({**CHANGE.to_dict(), "format": 2})
    assert str(caught.value) == (
        "table change has format 2, this region reads format 1;"
        " upgrade all regions to the same version"
    )
