"""The writer thread: groups, refusals, growth, stopping."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from antipodes.core.catalog import CREATE, Change
from antipodes.core.errors import InternalServerError, ServiceUnavailable
from antipodes.core.formats import decode_item
from antipodes.core.keys import ItemKey, KeyAttribute, KeySchema, physical_key
from antipodes.core.replication import (
    Acknowledge,
    ChangeDecided,
    ChangeProposed,
    Confirm,
    Effect,
    EntriesArrived,
    OriginsNamed,
    Refuse,
    Replica,
    ReportProgress,
    Write,
    WriteRequested,
)
from antipodes.core.tables import Table
from antipodes.core.versions import Origin
from antipodes_node.driver import Driver, View
from antipodes_node.storage.environment import Environment
from tests.integration.nodes import eventually

SCHEMA = KeySchema(KeyAttribute("p", "S"), None)
US = "us-east-1"


class Running:
    """A driver over a database of its own."""

    def __init__(self, path: Path, map_bytes: int = 4 << 20, map_bytes_max: int = 64 << 20) -> None:
        self.environment = Environment(path, map_bytes, map_bytes_max)
        self.views: list[View] = []
        loop = asyncio.get_running_loop()
        self.driver = Driver(US, self.environment, loop, self.views.append)

    async def create(self) -> Table:
        change = Change("id", CREATE, US, (US,), "things", bytes(16), SCHEMA, (US,), 0, None)
        await self.driver.happen(ChangeProposed(change))
        await self.driver.happen(ChangeDecided("id", commit=True))
        return self.driver.view.tables["things"]

    def write(self, key: str, size: int = 10) -> Write:
        table = self.driver.view.tables["things"]
        item_key = ItemKey(key.encode(), b"")
        physical = physical_key(SCHEMA, table.number, item_key)
        return Write(table, item_key, physical, b"x" * size, size)

    def get(self, key: str) -> bytes | None:
        write = self.write(key)
        with self.environment.read() as txn:
            stored = txn.get(write.physical, db=self.environment.dbs.items)
        return None if stored is None else decode_item(stored).payload

    async def stop(self) -> None:
        async with asyncio.timeout(10):
            await self.driver.stop()
        self.environment.close()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    made = Running(tmp_path)
    made.driver.start()
    await made.create()
    yield made
    await made.stop()


class Later:
    """Notes effects as they come."""

    def __init__(self, count: int) -> None:
        self.effects: list[Effect] = []
        self._count = count
        self._all = asyncio.Event()

    def done(self, effect: Effect) -> None:
        self.effects.append(effect)
        if len(self.effects) == self._count:
            self._all.set()

    async def all(self) -> list[Effect]:
        async with asyncio.timeout(10):
            await self._all.wait()
        return self.effects


async def test_events_that_wait_share_a_transaction(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.driver.start()
    await running.create()
    before = running.driver.view.commits
    later = Later(100)
    for number in range(100):
        running.driver.submit(WriteRequested((running.write(str(number)),)), later.done)
    effects = await later.all()
    assert all(isinstance(effect, Acknowledge) for effect in effects)
    assert running.driver.view.commits - before < 50
    assert running.driver.view.writes == 100
    await running.stop()


async def test_write_after_its_deadline_is_not_begun(running: Running) -> None:
    with pytest.raises(ServiceUnavailable, match="the deadline passed before the write began"):
        await running.driver.write(WriteRequested((running.write("late"),)), time.monotonic() - 1)
    await running.driver.write(WriteRequested((running.write("soon"),)), time.monotonic() + 10)
    assert running.get("late") is None
    assert running.get("soon") is not None


async def test_view_is_renewed_before_the_outcome_is_told(running: Running) -> None:
    [outcome] = await running.driver.write(WriteRequested((running.write("x"),)))
    assert running.driver.view.head_lsn == outcome.lsn == 1
    assert running.views[-1].head_lsn == 1
    with running.environment.read() as txn:
        assert txn.get(bytes(7) + b"\1", db=running.environment.dbs.log) is not None


async def test_bad_event_does_not_take_its_group_with_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Replica.step

    def step(self: Replica, txn: Any, event: Any, now_ms: int) -> Effect:
        if isinstance(event, WriteRequested) and event.writes[0].key.partition == b"bad":
            raise ZeroDivisionError("boom")
        return honest(self, txn, event, now_ms)

    monkeypatch.setattr(Replica, "step", step)
    later = Later(5)
    for key in ("a", "b", "bad", "c", "d"):
        running.driver.submit(WriteRequested((running.write(key),)), later.done)
    effects = await later.all()
    assert [type(effect) for effect in effects] == [
        Acknowledge, Acknowledge, Refuse, Acknowledge, Acknowledge,
    ]  # fmt: skip
    refusal = effects[2]
    assert isinstance(refusal, Refuse)
    assert isinstance(refusal.error, InternalServerError)
    assert "ZeroDivisionError: boom" in str(refusal.error)
    assert running.get("bad") is None
    assert running.get("d") is not None
    assert running.driver.view.head_lsn == 4


async def test_one_who_cannot_take_its_outcome_does_not_keep_it_from_the_others(
    running: Running,
) -> None:
    def fail(_: Effect) -> None:
        raise ZeroDivisionError

    later = Later(2)
    for done in (later.done, fail, later.done):
        running.driver.submit(WriteRequested((running.write("x"),)), done)
    assert len(await later.all()) == 2
    assert running.views[-1].head_lsn == running.driver.view.head_lsn


@pytest.mark.parametrize("queued", [0, 1, 300])
async def test_stop_finishes_what_is_queued_and_returns(tmp_path: Path, queued: int) -> None:
    running = Running(tmp_path)
    running.driver.start()
    await running.create()
    later = Later(queued)
    for number in range(queued):
        running.driver.submit(WriteRequested((running.write(str(number)),)), later.done)
    async with asyncio.timeout(10):
        await running.driver.stop()
    await asyncio.sleep(0)
    assert len(later.effects) == queued
    running.environment.close()


async def test_stop_while_the_map_must_grow_returns(tmp_path: Path) -> None:
    running = Running(tmp_path, 1 << 20, 256 << 20)
    running.driver.start()
    await running.create()
    later = Later(60)
    for number in range(60):
        running.driver.submit(WriteRequested((running.write(str(number), 400_000),)), later.done)
    async with asyncio.timeout(20):
        await running.driver.stop()
    await asyncio.sleep(0)
    assert [type(effect) for effect in later.effects] == [Acknowledge] * 60
    assert running.environment.map_bytes > 32 << 20
    running.environment.close()


async def test_stop_of_a_driver_that_never_ran_returns(tmp_path: Path) -> None:
    await Running(tmp_path).stop()


async def test_names_of_origins_are_learned_before_entries_that_need_them(
    running: Running,
) -> None:
    other = Origin("eu-west-2", 1)
    seen: list[Effect] = []
    later = Later(302)
    for number in range(300):  # more than one group, so that the entries overtake nothing
        running.driver.submit(WriteRequested((running.write(str(number)),)), later.done)

    def note(effect: Effect) -> None:
        seen.append(effect)
        later.done(effect)

    running.driver.submit(OriginsNamed((other,)), note)
    running.driver.submit(EntriesArrived(other.id, 0, 7, ()), note)
    await later.all()
    assert [type(effect) for effect in seen] == [Confirm, ReportProgress]
    assert running.driver.view.names[other.id] == other


async def test_entries_behind_a_gap_are_refused_and_nothing_is_lost(running: Running) -> None:
    other = Origin("eu-west-2", 1)
    await running.driver.happen(OriginsNamed((other,)))
    with pytest.raises(ServiceUnavailable, match="only 0 is applied"):
        await running.driver.happen(EntriesArrived(other.id, 5, 9, ()))
    effect = await running.driver.happen(EntriesArrived(other.id, 0, 5, ()))
    assert isinstance(effect, ReportProgress)
    assert effect.applied_lsn == 5


async def test_full_map_refuses_at_once_until_there_is_room(tmp_path: Path) -> None:
    running = Running(tmp_path, 1 << 20, 2 << 20)
    running.driver.start()
    await running.create()
    await running.driver.write(WriteRequested((running.write("0", 300_000),)))
    with pytest.raises(ServiceUnavailable, match="is full"):
        await running.driver.write(
            WriteRequested(tuple(running.write(str(n), 300_000) for n in range(5)))
        )
    assert running.get("4") is None
    commits, head = running.driver.view.commits, running.driver.view.head_lsn
    for event in (
        WriteRequested((running.write("small"),)), EntriesArrived(b"somebody", 0, 5, ()),
    ):  # fmt: skip
        with pytest.raises(ServiceUnavailable, match="raise --map-bytes-max and restart"):
            await running.driver.happen(event)
    assert (running.driver.view.commits, running.driver.view.head_lsn) == (commits, head)
    assert running.driver.writes_refused
    await running.stop()


async def test_disk_that_refuses_is_tried_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antipodes_node.driver.PROBE_SECONDS", 0.02)
    honest = running.environment.write
    broken = True

    def write() -> Any:
        txn = honest()
        if not broken:
            return txn
        return BrokenCommit(txn)

    monkeypatch.setattr(running.environment, "write", write)
    with pytest.raises(ServiceUnavailable, match="refuses writes"):
        await running.driver.write(WriteRequested((running.write("x"),)))
    assert running.get("x") is None
    broken = False
    await eventually(lambda: not running.driver.writes_refused)
    await running.driver.write(WriteRequested((running.write("x"),)))
    assert running.get("x") is not None


class BrokenCommit:
    """A transaction whose changes the disk does not take."""

    def __init__(self, txn: Any) -> None:
        self._txn = txn
        self._changed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def put(self, *args: Any, **kwargs: Any) -> Any:
        self._changed = True
        return self._txn.put(*args, **kwargs)

    def commit(self) -> None:
        if self._changed:
            self._txn.abort()
            raise lmdb.Error("mdb_txn_commit: Input/output error")
        self._txn.commit()

    def __enter__(self) -> "BrokenCommit":
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        if kind is None:
            self.commit()
        else:
            self._txn.abort()


async def test_storage_beyond_use_is_said_to_everybody(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic() -> Any:
        raise lmdb.PanicError("mdb_txn_begin: Update of meta page failed")

    monkeypatch.setattr(running.environment, "write", panic)
    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="restart the node"):
            await running.driver.write(WriteRequested((running.write("x"),)))
    assert running.driver.failed
    assert running.driver.writes_refused
