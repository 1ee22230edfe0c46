"""The laws of version vectors, and how two versions relate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.errors import Corrupt
from antipodes.core.versions import (
    Dot,
    Origin,
    OriginNames,
    Relation,
    Stamp,
    Vector,
    classify,
    covers,
    decode_vector,
    encode_vector,
    join,
)

A, B, C = (Origin(region, 1).id for region in ("africa", "america", "asia"))
origins = st.sampled_from([A, B, C])
positions = st.integers(1, 5)
vectors = st.dictionaries(origins, positions)
dots = st.builds(Dot, origins, positions)


@given(vectors, vectors, vectors)
def test_join_is_commutative_associative_and_idempotent(a: Vector, b: Vector, c: Vector) -> None:
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c)
    assert join(a, a) == a
    assert join(a, {}) == a


@given(vectors, vectors, dots)
def test_join_covers_what_either_covers(a: Vector, b: Vector, dot: Dot) -> None:
    assert covers(join(a, b), dot) is (covers(a, dot) or covers(b, dot))


@given(vectors, vectors)
def test_join_leaves_its_arguments_alone(a: Vector, b: Vector) -> None:
    before = dict(a), dict(b)
    join(a, b)
    assert (a, b) == before


@given(vectors, dots)
def test_vector_that_covers_a_write_covers_all_earlier_ones_of_its_origin(
    vector: Vector, dot: Dot
) -> None:
    if covers(vector, dot):
        assert all(covers(vector, Dot(dot.origin, lsn)) for lsn in range(1, dot.lsn))


@given(st.dictionaries(st.binary(min_size=8, max_size=8), st.integers(0, 2**64 - 1)))
def test_encoded_vector_reads_back(vector: Vector) -> None:
    encoded = encode_vector(vector)
    assert decode_vector(encoded) == vector
    assert len(encoded) == 16 * len(vector)


@given(st.permutations([(A, 1), (B, 2), (C, 3)]))
def test_equal_vectors_have_equal_bytes(entries: list[tuple[bytes, int]]) -> None:
    assert encode_vector(dict(entries)) == encode_vector({A: 1, B: 2, C: 3})


def test_version_of_an_item_never_written_is_new() -> None:
    assert classify(None, Dot(A, 1), {A: 1}) is Relation.NEW


def test_version_that_something_merged_here_has_seen_is_stale() -> None:
    assert classify((Dot(A, 2), {A: 2, B: 7}), Dot(B, 7), {B: 7}) is Relation.STALE


def test_version_that_has_seen_the_stored_one_supersedes_it() -> None:
    assert classify((Dot(A, 2), {A: 2}), Dot(B, 7), {A: 2, B: 7}) is Relation.SUPERSEDES


def test_versions_that_have_not_seen_each_other_are_concurrent() -> None:
    assert classify((Dot(A, 2), {A: 2}), Dot(B, 7), {A: 1, B: 7}) is Relation.CONCURRENT


@given(dots, dots, vectors, vectors)
def test_exactly_one_of_two_versions_supersedes_or_they_are_concurrent(
    a: Dot, b: Dot, seen_by_a: Vector, seen_by_b: Vector
) -> None:
    a_context, b_context = join(seen_by_a, {a.origin: a.lsn}), join(seen_by_b, {b.origin: b.lsn})
    if a == b or (covers(a_context, b) and covers(b_context, a)):
        return  # Time runs one way.
    relation = classify((a, a_context), b, b_context)
    mirrored = classify((b, b_context), a, a_context)
    opposite = {
        Relation.STALE: Relation.SUPERSEDES,
        Relation.SUPERSEDES: Relation.STALE,
        Relation.CONCURRENT: Relation.CONCURRENT,
    }
    assert mirrored is opposite[relation]


def test_stamps_order_by_clock_then_region_then_incarnation_then_position() -> None:
    ordered = [
        Stamp(1, "asia", 9, 9), Stamp(2, "africa", 9, 9), Stamp(2, "asia", 1, 9),
        Stamp(2, "asia", 2, 1), Stamp(2, "asia", 2, 2),
    ]  # fmt: skip
    assert sorted([ordered[n] for n in (3, 0, 4, 2, 1)]) == ordered


def test_origin_of_another_incarnation_has_another_id() -> None:
    assert Origin("asia", 1).id != Origin("asia", 2).id
    assert len(Origin("asia", 1).id) == 8
    assert str(Origin("asia", 2)) == "asia#2"


def test_stamp_of_an_origin_never_met_is_refused() -> None:
    names = OriginNames({A: Origin("africa", 1)})
    assert names.stamp(5, A, 3) == Stamp(5, "africa", 1, 3)
    with pytest.raises(Corrupt, match=f"no region is known for origin id {B.hex()}"):
        names.stamp(5, B, 3)
