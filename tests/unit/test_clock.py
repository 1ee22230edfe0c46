"""A hybrid clock never goes back, follows what it sees, and does not follow what is absurd."""

from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.clock import HybridClock, from_ms, to_ms
from antipodes.core.limits import DRIFT_MS_MAX

times = st.integers(0, 5_000)
values = times.map(from_ms) | st.integers(0, from_ms(5_000))


def test_tick_when_wall_clock_advances_is_the_wall_clock() -> None:
    clock = HybridClock()
    assert clock.tick(7) == from_ms(7)
    assert to_ms(clock.value) == 7


def test_tick_when_wall_clock_goes_back_still_advances() -> None:
    clock = HybridClock(from_ms(100))
    assert clock.tick(50) == from_ms(100) + 1
    assert clock.tick(50) == from_ms(100) + 2


def test_counter_that_overflows_carries_into_the_milliseconds() -> None:
    clock = HybridClock(from_ms(100) + 0xFFFF)
    assert clock.tick(100) == from_ms(101)


def test_observed_value_is_passed_by_the_next_tick() -> None:
    clock = HybridClock()
    assert clock.observe(from_ms(300), now_ms=0)
    assert clock.tick(0) == from_ms(300) + 1


def test_value_at_the_drift_bound_is_adopted_and_one_beyond_is_not() -> None:
    clock = HybridClock()
    assert clock.observe(from_ms(DRIFT_MS_MAX) + 0xFFFF, now_ms=0)
    assert not clock.observe(from_ms(DRIFT_MS_MAX + 1), now_ms=0)
    assert to_ms(clock.value) == DRIFT_MS_MAX
    assert clock.drift_rejected == 1


def test_value_that_is_not_ahead_is_not_counted_as_drift() -> None:
    clock = HybridClock(from_ms(9_000))
    assert clock.observe(from_ms(8_000), now_ms=0)
    assert clock.drift_rejected == 0


def test_version_that_replaces_one_far_ahead_beats_it_without_moving_the_clock() -> None:
    clock = HybridClock()
    assert clock.issue_after(from_ms(9_000), now_ms=1) == from_ms(9_000) + 1
    assert clock.value == from_ms(1)


def test_version_that_replaces_one_slightly_ahead_moves_the_clock() -> None:
    clock = HybridClock()
    assert clock.issue_after(from_ms(100), now_ms=1) == from_ms(100) + 1
    assert clock.tick(1) == from_ms(100) + 2


@given(st.lists(st.tuples(st.sampled_from(["tick", "issue", "observe"]), values, times)))
def test_issued_values_rise_and_beat_what_was_stored(steps: list[tuple[str, int, int]]) -> None:
    clock = HybridClock()
    for what, value, now_ms in steps:
        before = clock.value
        match what:
            case "tick":
                assert clock.tick(now_ms) > before
            case "issue":
                issued = clock.issue_after(value, now_ms)
                assert issued > max(before, value)
            case _:
                adopted = clock.observe(value, now_ms)
                assert clock.value == (max(before, value) if adopted else before)
        assert clock.value >= before
        assert to_ms(clock.value) <= max(to_ms(before) + 1, now_ms + DRIFT_MS_MAX)
