"""The bytes on disk: as the golden files have them, readable, and guarded against damage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.errors import Corrupt
from antipodes.core.formats import (
    NO_TRANSACTION,
    Cause,
    EntryBody,
    ItemRecord,
    Kind,
    LogEntry,
    crc32c,
    decode_body,
    decode_item,
    decode_log,
    encode_body,
    encode_item,
    encode_log,
    log_body,
    peek_dot,
    peek_table_id,
    peek_transaction,
)
from antipodes.core.keys import ItemKey
from antipodes.core.versions import Dot, encode_vector

GOLDEN = Path(__file__).parent / "golden"

AFRICA, ASIA = b"\xaf" * 8, b"\xa5" * 8
CONTEXT = encode_vector({AFRICA: 41, ASIA: 7})
KEY = ItemKey(b"order-1", b"\x00line")
PAYLOAD = b'{"pk":{"S":"order-1"},"total":{"N":"12.5"}}'

ITEM = ItemRecord(111 << 16, Dot(AFRICA, 41), CONTEXT, 99, KEY, PAYLOAD, 27)
TOMBSTONE = ITEM._replace(payload=None, size=0)
BODY = EntryBody(
    Kind.PUT, Cause.USER, 3, 111 << 16, Dot(AFRICA, 41), 1_700_000_000_123, bytes(range(16)),
    b"\x77" * 16, 1, 2, CONTEXT, KEY, PAYLOAD, 27,
)  # fmt: skip
DELETE_BODY = BODY._replace(
    kind=Kind.DELETE, cause=Cause.TTL, transaction_id=NO_TRANSACTION, transaction_index=0,
    transaction_count=0, payload=None, size=0,
)  # fmt: skip
LOG = LogEntry(True, 1_700_000_000_456, b'{"old":{"BOOL":true}}', 8, encode_body(BODY), True)
FIRST_LOG = LogEntry(True, 1_700_000_000_456, None, 0, encode_body(BODY), False)
HIDDEN_LOG = LogEntry(False, 1_700_000_000_456, None, 0, encode_body(DELETE_BODY), False)


def decode_log_and_body(stored: bytes) -> EntryBody:
    """Read a log entry as its readers do: its body guards itself."""
    return decode_body(decode_log(stored).body)


EXAMPLES: list[tuple[str, Any, Callable[[Any], bytes], Callable[[bytes], Any]]] = [
    ("item.v1", ITEM, encode_item, decode_item),
    ("tombstone.v1", TOMBSTONE, encode_item, decode_item),
    ("entry_body.v1", BODY, encode_body, decode_body),
    ("delete_body.v1", DELETE_BODY, encode_body, decode_body),
    ("log_entry.v1", LOG, encode_log, decode_log),
    ("first_log_entry.v1", FIRST_LOG, encode_log, decode_log),
    ("hidden_log_entry.v1", HIDDEN_LOG, encode_log, decode_log),
]
READERS = [
    pytest.param(encode_item(ITEM), decode_item, id="item"),
    pytest.param(encode_item(TOMBSTONE), decode_item, id="tombstone"),
    pytest.param(encode_body(BODY), decode_body, id="entry body"),
    pytest.param(encode_log(LOG), decode_log_and_body, id="log entry"),
    pytest.param(encode_log(HIDDEN_LOG), decode_log_and_body, id="hidden log entry"),
]


@pytest.mark.parametrize(("name", "value", "encode", "decode"), EXAMPLES, ids=lambda e: str(e)[:20])
def test_todays_bytes_are_the_golden_bytes(
    name: str, value: Any, encode: Callable[[Any], bytes], decode: Callable[[bytes], Any]
) -> None:
    golden = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    assert encode(value) == golden
    assert decode(golden) == value


def test_every_golden_file_is_tested() -> None:
    assert {path.stem for path in GOLDEN.glob("*.hex")} == {name for name, *_ in EXAMPLES}


@pytest.mark.parametrize(("stored", "read"), READERS)
def test_unknown_version_is_refused_by_number(stored: bytes, read: Callable[[bytes], Any]) -> None:
    with pytest.raises(Corrupt, match="has format 9, this version reads format 1"):
        read(b"\x09" + stored[1:])


@pytest.mark.parametrize(("stored", "read"), READERS)
def test_every_flipped_bit_is_found(stored: bytes, read: Callable[[bytes], Any]) -> None:
    for bit in range(8 * len(stored)):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt):
            read(bytes(damaged))


@pytest.mark.parametrize(("stored", "read"), READERS)
def test_every_shortened_record_is_found(stored: bytes, read: Callable[[bytes], Any]) -> None:
    for length in range(len(stored)):
        with pytest.raises(Corrupt):
            read(stored[:length])


@pytest.mark.parametrize(("at", "value"), [(5, 77), (6, 0)], ids=["kind", "cause"])
def test_unknown_kind_or_cause_is_refused(at: int, value: int) -> None:
    body = bytearray(encode_body(BODY))
    body[at] = value
    body[1:5] = crc32c(bytes(body[5:])).to_bytes(4)
    with pytest.raises(Corrupt, match="log entry 41 has unknown kind"):
        decode_body(bytes(body))


def test_peeks_agree_with_the_whole() -> None:
    body = encode_body(BODY)
    assert peek_dot(body) == BODY.dot
    assert peek_table_id(body) == BODY.table_id
    assert peek_transaction(body) == (1, 2)
    assert log_body(encode_log(LOG)) == body


positions = st.integers(0, 2**64 - 1)
payloads = st.none() | st.binary(max_size=40)
keys = st.builds(ItemKey, st.binary(max_size=20), st.binary(max_size=20))
dots = st.builds(Dot, st.binary(min_size=8, max_size=8), positions)
contexts = st.dictionaries(st.binary(min_size=8, max_size=8), positions).map(encode_vector)
ids = st.binary(min_size=16, max_size=16)
small = st.integers(0, 2**16 - 1)
bodies = st.builds(
    EntryBody, st.sampled_from(Kind), st.sampled_from(Cause), st.integers(0, 2**32 - 1),
    positions, dots, positions, ids, ids, small, small, contexts, keys, payloads,
    st.integers(0, 2**32 - 1),
)  # fmt: skip


@given(
    st.builds(
        ItemRecord, positions, dots, contexts, positions, keys, payloads, st.integers(0, 2**32 - 1)
    )
)
def test_any_item_record_reads_back(record: ItemRecord) -> None:
    assert decode_item(encode_item(record)) == record


@given(bodies)
def test_any_entry_body_reads_back(body: EntryBody) -> None:
    assert decode_body(encode_body(body)) == body


@given(
    st.builds(
        LogEntry, st.booleans(), positions, payloads, st.integers(0, 2**32 - 1),
        bodies.map(encode_body), st.booleans(),
    )
)  # fmt: skip
def test_any_log_entry_reads_back(entry: LogEntry) -> None:
    assert decode_log(encode_log(entry)) == entry
