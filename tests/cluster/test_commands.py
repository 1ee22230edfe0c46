"""The command line against real processes: what a person types and sees."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.cluster.conftest import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


class Shell:
    """Runs ``antipodes`` commands against one directory and port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_ports(4)
        self.endpoint = f"127.0.0.1:{self.port}"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "antipodes.cli", *words],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "up", "--detach", "--data-dir", str(self.directory), "--port", str(self.port), *words
        )

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.run("down", "--data-dir", str(self.directory))

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(*words, "--endpoint", self.endpoint)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path / "data")
    yield shell
    shell.down()


def test_a_first_session_at_the_terminal(shell: Shell) -> None:
    started = shell.up()
    assert started.returncode == 0, started.stderr
    assert started.stdout.rstrip().splitlines()[-1] == "ready"

    # The three commands that it prints work as printed.
    suggested = [
        line.strip() for line in started.stdout.splitlines() if line.startswith("  antipodes ")
    ]
    assert len(suggested) == 3
    for line in suggested:
        done = subprocess.run(
            line.replace("antipodes ", f"{sys.executable} -m antipodes.cli ", 1),
            shell=True, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    status = shell.ask("status", "-o", "json")
    regions = [orjson.loads(line) for line in status.stdout.splitlines()]
    assert {r["region"] for r in regions} == {"us-east-1", "eu-west-2", "ap-northeast-1"}
    assert all(r["available"] == "yes" and len(r["links"]) == 2 for r in regions)
    assert "TAILING" in shell.ask("status").stdout

    song = '{"artist": "No One You Know", "title": "Call Me Today"}'
    got = shell.ask("item", "get", "songs", song, "-o", "json")
    assert orjson.loads(got.stdout) == orjson.loads(song)
    listed = shell.ask("query", "songs", "No One You Know", "--begins-with", "Call", "-o", "json")
    assert orjson.loads(listed.stdout)["title"] == "Call Me Today"
    tailed = shell.ask("stream", "tail", "songs", "--from", "beginning", "--limit", "1")
    assert "INSERT" in tailed.stdout

    missing = shell.ask("item", "get", "songs", '{"artist": "X", "title": "Y"}')
    assert (missing.returncode, missing.stdout) == (4, "")
    unknown = shell.ask("scan", "nosuch")
    assert unknown.returncode == 4
    assert "ResourceNotFoundException" in unknown.stderr
    not_json = shell.ask("item", "put", "songs", "{artist}")
    assert not_json.returncode == 4
    assert "not JSON" in not_json.stderr
    kept = shell.ask("table", "delete", "songs")
    assert kept.returncode == 4
    assert "--all-replicas" in kept.stderr
    assert shell.ask("table", "delete", "songs", "--all-replicas").returncode == 0
    assert "no tables" in shell.ask("table", "list").stdout

    second = shell.up()
    assert second.returncode == 5
    assert "already running" in second.stderr
    assert "antipodes down" in second.stderr

    stopped = shell.down()
    assert stopped.returncode == 0
    assert "us-east-1" in stopped.stdout
    again = shell.down()
    assert again.returncode == 3
    gone = shell.ask("status")
    assert gone.returncode == 3
    assert "antipodes up" in gone.stderr


def test_up_refuses_what_cannot_work(shell: Shell, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", shell.port + 2))
        taken.listen()
        refused = shell.up()
    assert refused.returncode == 5
    assert f"port {shell.port + 2} is taken" in refused.stderr
    assert "--port" in refused.stderr

    unknown = shell.up("--regions", "us-east-1,atlantis-1")
    assert unknown.returncode == 5
    assert "atlantis-1" in unknown.stderr

    file = tmp_path / "file"
    file.write_text("")
    unwritable = shell.run("up", "--detach", "--data-dir", str(file / "below"))
    assert unwritable.returncode == 5
    assert str(file) in unwritable.stderr


async def test_interrupted_up_stops_everything(tmp_path: Path) -> None:
    port = free_ports(2)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "antipodes.cli", "up", "--data-dir", str(tmp_path),
        "--port", str(port), "--regions", "us-east-1", stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async for line in process.stdout:
        if line == b"ready\n":
            break
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0
    for free in (port, port + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", free))


def test_demo_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "antipodes.cli", "demo", "--quick", "--port", str(free_ports(4)),
         "--keep", str(tmp_path / "demo")],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 of 11 checks held" in done.stdout
