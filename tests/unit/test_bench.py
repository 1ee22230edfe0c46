"""The arithmetic of the benchmark."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipodes.cli.bench.lab import Measured, middle
from antipodes.cli.bench.report import (
    Figure,
    Report,
    Target,
    median,
    mixed_rate,
    number,
    percentile,
)
from antipodes.cli.bench.workloads import (
    FIELD_BYTES,
    FIELDS,
    YCSB,
    Items,
    Keys,
    Zipfian,
    get_request,
    key_of,
)


def rng(seed: int = 7) -> random.Random:
    return random.Random(seed)


# --- distributions


@given(st.integers(1, 500), st.integers(0, 2**32))
def test_zipfian_rank_always_lies_within_the_count(count: int, seed: int) -> None:
    zipfian = Zipfian(count, rng(seed))
    assert all(0 <= zipfian.rank() < count for _ in range(50))


def test_zipfian_gives_each_rank_its_share() -> None:
    count, draws, theta = 1000, 200_000, 0.99
    zipfian = Zipfian(count, rng(), theta)
    drawn = Counter(zipfian.rank() for _ in range(draws))
    total = sum(n**-theta for n in range(1, count + 1))
    for rank in (0, 1):  # these are exact, the others approximate
        assert drawn[rank] / draws == pytest.approx((rank + 1) ** -theta / total, rel=0.05)
    half = sum(n**-theta for n in range(1, 51)) / total
    assert sum(drawn[rank] for rank in range(50)) / draws == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize(("count", "theta"), [(0, 0.99), (10, 0.0), (10, 1.0)])
def test_zipfian_of_nothing_or_of_a_wrong_theta_is_refused(count: int, theta: float) -> None:
    with pytest.raises(ValueError, match="zipfian"):
        Zipfian(count, rng(), theta)


def test_popular_keys_are_scattered_and_the_same_in_every_process() -> None:
    def popular(seed: int) -> list[str]:
        keys = Keys(1000, "zipfian", rng(seed), "new")
        return [key for key, _ in Counter(keys.existing() for _ in range(20_000)).most_common(3)]

    assert set(popular(1)) == set(popular(2))
    assert set(popular(1)) != {key_of(0), key_of(1), key_of(2)}


def test_latest_prefers_what_was_inserted_last() -> None:
    keys = Keys(100, "latest", rng(), "new")
    assert Counter(keys.existing() for _ in range(2000)).most_common(1)[0][0] == key_of(99)
    fresh = keys.fresh()
    assert fresh not in {keys.existing() for _ in range(500)}, "it is not acknowledged yet"
    keys.inserted(fresh)
    assert Counter(keys.existing() for _ in range(2000)).most_common(1)[0][0] == fresh


def test_latest_with_few_items_never_runs_off_the_end() -> None:
    keys = Keys(1, "latest", rng(), "new")
    for _ in range(20):
        keys.inserted(keys.fresh())
        assert keys.existing()


def test_uniform_reaches_every_item() -> None:
    keys = Keys(10, "uniform", rng(), "new")
    assert {keys.existing() for _ in range(500)} == {key_of(number) for number in range(10)}


# --- items and workloads


def test_shares_of_every_workload_add_up_to_one() -> None:
    for workload in YCSB:
        shares = workload.read + workload.update + workload.insert + workload.modify
        assert shares == pytest.approx(1.0)
    by_name = {workload.name: workload for workload in YCSB}
    assert by_name["F"].reads_per_operation == 1.0
    assert by_name["F"].writes_per_operation == 0.5


def test_item_holds_ten_fields_of_a_hundred_bytes_in_every_form() -> None:
    items = Items(rng())
    native = items.native("k")
    assert native.pop("id") == "k"
    assert [len(value) for value in native.values()] == [FIELD_BYTES] * FIELDS
    request = items.put_request("t", "k")
    assert (request.table_name, len(request.item)) == ("t", FIELDS + 1)
    assert request.item["id"].s == "k"
    assert len(items.get_response("k").item.attributes) == FIELDS + 1
    assert get_request("t", "k").key["id"].s == "k"
    assert 1024 <= len(items.stored("k")) <= 1500


# --- figures


@given(st.lists(st.integers(0, 1000), min_size=1), st.floats(0.01, 1.0))
def test_percentile_is_the_least_value_that_enough_do_not_exceed(
    values: list[int], share: float
) -> None:
    found = percentile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_percentile_of_a_hundred_values_is_the_value_of_that_number() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1], 0.0), ([1], 1.1)])
def test_percentile_of_nothing_or_of_a_wrong_share_is_refused(
    values: list[int], share: float
) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_median_of_two_is_the_lower() -> None:
    assert median([3, 1]) == 1
    assert median([5, 1, 3]) == 3


def test_mixed_rate_is_that_of_the_parts_one_after_the_other() -> None:
    assert mixed_rate(((0.5, 100.0), (0.5, 100.0))) == pytest.approx(100.0)
    assert mixed_rate(((1.0, 100.0), (1.0, 50.0))) == pytest.approx(2 / 0.03)
    assert mixed_rate(((1.0, 100.0), (0.0, 1.0))) == pytest.approx(100.0), "no share, no weight"


def test_numbers_show_three_digits_that_mean_something() -> None:
    shown = [number(value) for value in (0, 0.01234, 1.234, 12.34, 123.4, 12345.6, float("inf"))]
    assert shown == ["0", "0.0123", "1.23", "12.3", "123", "12,346", "inf"]


def run(requests: int, seconds: float = 2.0, server_cpu_s: float = 1.0) -> dict[str, object]:
    return {
        "seconds": seconds, "requests": requests, "client_cpu_s": 1.0,
        "latencies_us": [1000] * requests, "server_cpu_s": [server_cpu_s],
    }  # fmt: skip


def test_load_of_two_processes_counts_rates_together_and_the_server_once() -> None:
    measured = Measured.of([run(200), run(400)])
    assert measured.requests_per_s == pytest.approx(300)
    assert measured.server_cores == pytest.approx(0.5)
    assert measured.client_cores == pytest.approx(1.0)
    assert measured.requests_per_cpu_s == pytest.approx(600)
    assert measured.to_columns()["p99 ms"] == 1.0


def test_middle_of_runs_is_the_one_with_the_median_rate() -> None:
    runs = [Measured.of([run(requests)]) for requests in (100, 300, 200)]
    assert middle(runs) is runs[2]
    assert middle(runs[:2]) is runs[0]


def test_target_is_reached_within_its_bound_or_otherwise() -> None:
    def target(measured: float, *, at_least: bool, otherwise: str = "") -> bool:
        return Target("s", "t", measured, 10.0, at_least, "", otherwise).reached

    assert target(10.0, at_least=True)
    assert target(10.0, at_least=False)
    assert not target(9.0, at_least=True)
    assert not target(11.0, at_least=False)
    assert target(9.0, at_least=True, otherwise="6 times unary")


def test_report_tells_ratios_and_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report({"cpus": 2})
    report.figures.append(Figure("ceilings", "unary", 600.0, "/s", 1000.0, "echo", {"p99 ms": 4.0}))
    report.targets.append(Target("ceilings", "ratio", 0.5, 0.6, at_least=True))
    report.targets.append(Target("ceilings", "other", 0.7, 0.6, at_least=True))
    printed = report.to_dict()
    assert printed["figures"][0]["ratio"] == pytest.approx(0.6)
    assert [t["reached"] for t in printed["targets"]] == [False, True]
    assert [t.name for t in report.missed] == ["ratio"]
    report.show()
    shown = capsys.readouterr().out
    assert "MISSED" in shown
    assert "0.600" in shown
    assert "p99 ms" in shown
