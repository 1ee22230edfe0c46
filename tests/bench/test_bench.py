"""Ratios that must hold on any machine: ``pytest -m bench``, alone and on a quiet machine."""

from pathlib import Path

import pytest

from antipodes.cli.bench.command import measure
from antipodes.cli.bench.report import Report

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

RATIOS = ("ceilings", "stream", "size")
"""Sections whose targets compare two figures of the same run."""


async def _measure(directory: Path, section: str) -> Report:
    return await measure(directory, (section,))  # with repetitions: one window may be disturbed


@pytest.mark.parametrize("section", RATIOS)
async def test_every_ratio_of_a_section_is_within_its_bound(tmp_path: Path, section: str) -> None:
    report = await _measure(tmp_path, section)
    assert report.targets
    assert not report.missed, [target.to_dict() for target in report.missed]


async def test_pipeline_beats_unary_calls_five_times(tmp_path: Path) -> None:
    report = await _measure(tmp_path, "pipeline")
    times = {figure.name: figure.more["times unary per CPU-s"] for figure in report.figures}
    assert len(times) == 2
    assert min(times.values()) >= 5, times
