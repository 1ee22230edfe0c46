"""A cluster of processes on this machine: nodes and a router, and a directory for their state."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import grpc.aio
import orjson
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from antipodes.cli.process import RefusedToStart
from antipodes.core.regions import AWS_REGIONS, valid_name
from antipodes.v1 import router_pb2, router_pb2_grpc

DEFAULT_REGIONS = ("us-east-1", "eu-west-2", "ap-northeast-1")
DEFAULT_PORT = 7400
HOST = "127.0.0.1"
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0
POLL_SECONDS = 0.02
STATE = "cluster.json"
LOCK = "cluster.lock"


@dataclass
class Member:
    """One process of the cluster.

    Attributes:
        name: A region, or ``router``.
        address: Where it answers gRPC.
        command: How it is started.
        log: Where its output goes.
        process: The running process; None before the start.
    """

    name: str
    address: str
    command: list[str]
    log: Path
    process: asyncio.subprocess.Process | None = None
    log_start: int = 0

    @property
    def running(self) -> bool:
        """It has been started and has not ended."""
        return self.process is not None and self.process.returncode is None


@dataclass
class LocalCluster:
    """Regions and a router as child processes.

    Args:
        directory: State of region R goes to ``directory/R``.
        regions: Names of the regions.
        port: The router's gRPC port; the nodes take the ports that follow, in order.
        http_port: The router's HTTP port, numbered likewise; None answers gRPC only.

    Attributes:
        members: The processes, nodes first, by name.
    """

    directory: Path
    regions: Sequence[str] = DEFAULT_REGIONS
    port: int = DEFAULT_PORT
    http_port: int | None = None
    members: dict[str, Member] = field(default_factory=dict)
    _lock: IO[bytes] | None = None

    def __post_init__(self) -> None:
        for region in self.regions:
            if not valid_name(region):
                raise RefusedToStart(
                    f"{region!r} cannot be the name of a region",
                    "use lower-case words and digits, for example eu-west-2",
                )
            if region not in AWS_REGIONS:
                raise RefusedToStart(
                    f"region {region!r} is not an AWS region, so its place on Earth is unknown",
                    f"choose from {', '.join(AWS_REGIONS)}",
                )
        if len(set(self.regions)) < len(self.regions) or not self.regions:
            raise RefusedToStart("regions are named twice or not at all", "name each region once")
        for flag, first in (("--port", self.port), ("--http-port", self.http_port)):
            if first is not None and not 1 <= first <= 65_535 - len(self.regions):
                raise RefusedToStart(
                    f"port {first} leaves no room for {len(self.regions)} nodes after it",
                    f"choose a lower {flag}",
                )
        if self.http_port is not None and abs(self.port - self.http_port) <= len(self.regions):
            raise RefusedToStart(
                f"the ports from {self.port} and from {self.http_port} on overlap",
                "choose --port and --http-port further apart",
            )

    @property
    def router_address(self) -> str:
        """Where the router answers gRPC."""
        return f"{HOST}:{self.port}"

    def address(self, region: str) -> str:
        """Where a region's node answers gRPC."""
        return f"{HOST}:{self.port + 1 + list(self.regions).index(region)}"

    def http_address(self, name: str) -> str | None:
        """Where a region's node, or the router, answers HTTP; None when nowhere."""
        if self.http_port is None:
            return None
        offset = 0 if name == "router" else 1 + list(self.regions).index(name)
        return f"{HOST}:{self.http_port + offset}"

    # --- start

    async def start(self) -> None:
        """Start all processes and wait until every one can serve.

        Raises:
            RefusedToStart: The directory is in use or unusable, or a process does not come up;
                nothing is left running.
        """
        self._claim()
        try:
            self._check_ports()
            cluster_id = self._cluster_id()
            for region in self.regions:
                self.members[region] = self._node(region, cluster_id)
            self.members["router"] = self._router(cluster_id)
            # All at once: three interpreters start faster side by side.
            await asyncio.gather(*(self._spawn(member) for member in self.members.values()))
            self._write_state()
            async with asyncio.timeout(START_SECONDS_MAX):
                await asyncio.gather(*(self.wait_ready(name) for name in self.members))
                await self.wait_available(self.regions)
        except TimeoutError:
            silent = [m.name for m in self.members.values() if m.running]
            await self.stop()
            raise RefusedToStart(
                f"{', '.join(silent)} did not become ready in {START_SECONDS_MAX:.0f} s",
                f"read the logs under {self.directory}",
            ) from None
        except BaseException:
            await self.stop()
            raise

    def _claim(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = (self.directory / LOCK).open("a+b")
        except OSError as error:
            raise RefusedToStart(
                f"data directory {self.directory} cannot be written: {error.strerror}",
                "name a directory that this user may write to with --data-dir",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            running = read_state(self.directory)
            where = f" (router on {HOST}:{running['port']})" if running else ""
            raise RefusedToStart(
                f"a cluster is already running on {self.directory}{where}",
                f"use it, or stop it with: antipodes down --data-dir {self.directory}",
            ) from None

    def _check_ports(self) -> None:
        """See that all ports are free: otherwise a stranger's health would be taken for ours."""
        firsts = [first for first in (self.port, self.http_port) if first is not None]
        for port in [first + offset for first in firsts for offset in range(len(self.regions) + 1)]:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError as error:
                    raise RefusedToStart(
                        f"port {port} is taken ({error.strerror})",
                        "stop what uses it, or choose other first ports with --port and"
                        " --http-port",
                    ) from error

    def _cluster_id(self) -> str:
        state = read_state(self.directory)
        if state is None:
            return f"local-{os.urandom(4).hex()}"
        if list(state["regions"]) != list(self.regions):
            raise RefusedToStart(
                f"{self.directory} holds a cluster of {', '.join(state['regions'])}",
                f"start it with --regions {','.join(state['regions'])},"
                " or name another directory with --data-dir",
            )
        return str(state["cluster_id"])

    def _node(self, region: str, cluster_id: str) -> Member:
        command = [
            sys.executable, "-m", "antipodes_node", "--region", region,
            "--cluster-id", cluster_id, "--listen", self.address(region),
            "--data-dir", str(self.directory / region),
        ]  # fmt: skip
        if (http := self.http_address(region)) is not None:
            command += ["--http-listen", http]
        for peer in self.regions:
            if peer != region:
                command += ["--peer", f"{peer}={self.address(peer)}"]
        return Member(region, self.address(region), command, self.directory / f"{region}.log")

    def _router(self, cluster_id: str) -> Member:
        command = [
            sys.executable, "-m", "antipodes_router", "--listen", self.router_address,
            "--cluster-id", cluster_id,
        ]  # fmt: skip
        if (http := self.http_address("router")) is not None:
            command += ["--http-listen", http]
        for region in self.regions:
            command += ["--region", f"{region}={self.address(region)}"]
            if (http := self.http_address(region)) is not None:
                command += ["--http-region", f"{region}={http}"]
        return Member("router", self.router_address, command, self.directory / "router.log")

    async def _spawn(self, member: Member) -> None:
        with member.log.open("ab") as out:
            member.log_start = out.tell()
            # A session of its own: Ctrl-C reaches this process only, which stops the others in
            # order.
            member.process = await asyncio.create_subprocess_exec(
                *member.command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    async def wait_ready(self, name: str) -> None:
        """Wait until a process says that it can serve.

        Raises:
            RefusedToStart: It ended instead; its last words are in the message.
        """
        member = self.members[name]
        async with grpc.aio.insecure_channel(
            member.address, (("grpc.initial_reconnect_backoff_ms", 50),
                             ("grpc.min_reconnect_backoff_ms", 50),
                             ("grpc.max_reconnect_backoff_ms", 100))
        ) as channel:  # fmt: skip
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while member.running:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                await asyncio.sleep(POLL_SECONDS)
        raise RefusedToStart(f"{name} ended: {last_words(member)}", f"its log is {member.log}")

    async def wait_available(self, regions: Sequence[str]) -> None:
        """Wait until the router sends traffic to all of these regions."""
        async with grpc.aio.insecure_channel(self.router_address) as channel:
            async for topology in router_pb2_grpc.RouterStub(channel).WatchTopology(
                router_pb2.WatchTopologyRequest()
            ):
                available = {r.region for r in topology.regions if r.available}
                if available.issuperset(regions):
                    return

    def _write_state(self) -> None:
        state = {
            "cluster_id": self.members["router"].command[
                self.members["router"].command.index("--cluster-id") + 1
            ],
            "regions": list(self.regions),
            "port": self.port,
            "http_port": self.http_port,
            "supervisor": _identify(os.getpid()),
            "processes": {
                m.name: identity
                for m in self.members.values()
                if m.process is not None and (identity := _identify(m.process.pid))
            },
        }
        fresh = self.directory / (STATE + ".new")
        fresh.write_bytes(orjson.dumps(state, option=orjson.OPT_INDENT_2))
        fresh.rename(self.directory / STATE)

    # --- while it runs

    def kill(self, name: str) -> None:
        """Kill a process on the spot, as a power cut would."""
        process = self.members[name].process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def restart(self, name: str) -> None:
        """Start a process again that has ended, and wait until it can serve."""
        member = self.members[name]
        if member.process is not None:
            await member.process.wait()
        await self._spawn(member)
        self._write_state()
        async with asyncio.timeout(START_SECONDS_MAX):
            await self.wait_ready(name)

    async def wait_ended(self, name: str) -> int:
        """Wait until a process ends; gives its exit status."""
        process = self.members[name].process
        assert process is not None, "the process was never started"
        return await process.wait()

    # --- stop

    async def stop(self) -> None:
        """Stop all processes, the router first, and give the directory back."""
        await self._stop([m for m in self.members.values() if m.name == "router"])
        await self._stop([m for m in self.members.values() if m.name != "router"])
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @staticmethod
    async def _stop(members: list[Member]) -> None:
        processes = [m.process for m in members if m.process is not None and m.running]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await asyncio.gather(*(process.wait() for process in processes))
        except TimeoutError:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.gather(*(process.wait() for process in processes))


def last_words(member: Member) -> str:
    """Give the end of what a process wrote since it was last started."""
    with member.log.open("rb") as log:
        log.seek(member.log_start)
        text = log.read()[-2000:].decode(errors="replace").strip()
    _, refused, reason = text.rpartition("refused to start: ")
    return reason if refused else text or "it said nothing"


def read_state(directory: Path) -> dict[str, Any] | None:
    """Read what the cluster on a directory is; None when there is none."""
    try:
        state: dict[str, Any] = orjson.loads((directory / STATE).read_bytes())
    except (OSError, ValueError):
        return None
    return state


def stop_cluster(directory: Path) -> list[str]:
    """Stop the cluster that runs on a directory, whoever started it.

    Returns:
        Names of the processes that were stopped.
    """
    state = read_state(directory)
    if state is None:
        return []
    supervisor = _find(state["supervisor"])
    children = {name: _find(identity) for name, identity in state["processes"].items()}
    names = [name for name, process in children.items() if process is not None]
    if supervisor is not None and supervisor.pid != os.getpid():
        supervisor.send_signal(signal.SIGTERM)
    else:  # the supervisor was killed and has left its children behind
        for process in filter(None, children.values()):
            process.terminate()
    _, left = psutil.wait_procs(
        [p for p in (supervisor, *children.values()) if p is not None],
        timeout=2 * STOP_SECONDS_MAX,
    )
    for process in left:
        process.kill()
    return names


def _identify(pid: int) -> dict[str, Any] | None:
    """Name a process so that another one with its number is not taken for it; None if it ended."""
    try:
        return {"pid": pid, "started": psutil.Process(pid).create_time()}
    except psutil.NoSuchProcess:
        return None


def _find(identity: dict[str, Any]) -> psutil.Process | None:
    try:
        process = psutil.Process(identity["pid"])
        if abs(process.create_time() - identity["started"]) > 1:
            return None
        return process if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
