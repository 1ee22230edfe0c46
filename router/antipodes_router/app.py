"""Builds the parts of the router; owns the order in which they start and stop."""

import asyncio
import signal
import time

import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from antipodes.cli.process import RefusedToStart
from antipodes.v1 import router_pb2, router_pb2_grpc
from antipodes_router.forwarding import METHODS, NODE_SERVICES, Forwarding
from antipodes_router.http.choice import HttpState
from antipodes_router.http.door import HttpDoor
from antipodes_router.http.limits import Limits
from antipodes_router.http.upstream import Pool
from antipodes_router.probing import Prober
from antipodes_router.service import RouterService
from antipodes_router.settings import RouterSettings
from antipodes_router.topology import Place, Topology
from antipodes_router.upstream import MESSAGE_BYTES_MAX, Upstream

log = structlog.get_logger()

ROUTER = router_pb2.DESCRIPTOR.services_by_name["Router"].full_name

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # so that a taken port is an error
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # Clients may ping idle connections to find out that this router is gone.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
)


def now_ms() -> float:
    """Read a clock that only grows, in milliseconds."""
    return time.monotonic() * 1000


class RouterApp:
    """One router in this process.

    Args:
        settings: Validated.
        http_limits: What clients and nodes may take of the HTTP port.

    Attributes:
        port: Where it listens, once started.
        http_port: Where it listens for HTTP, once started; 0 when it does not.
        topology: What it knows about the regions.
    """

    def __init__(self, settings: RouterSettings, http_limits: Limits | None = None) -> None:
        self.settings = settings
        self.port = 0
        self.http_port = 0
        self.topology = Topology(
            {name: Place(addr, settings.place_of(name)) for name, addr in settings.region.items()},
            settings.cluster_id,
            settings.catch_up_wait_ms,
        )
        self._upstreams: dict[str, Upstream] = {}
        self._probers: dict[str, Prober] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._server: aio.Server | None = None
        self._http: HttpDoor | None = None
        self._http_limits = http_limits or Limits()
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]

    async def start(self) -> None:
        """Listen, and begin to check the regions.

        Raises:
            RefusedToStart: An address cannot be listened on.
        """
        settings = self.settings
        for name, address in settings.region.items():
            upstream = Upstream(name, address, METHODS)
            self._upstreams[name] = upstream
            self._probers[name] = Prober(
                upstream,
                self.topology,
                interval_ms=settings.health_interval_ms,
                timeout_ms=settings.health_timeout_ms,
                catch_up_interval_ms=settings.catch_up_interval_ms,
                now_ms=now_ms,
            )
        server = self._server = aio.server(options=SERVER_OPTIONS)
        router_pb2_grpc.add_RouterServicer_to_server(RouterService(self.topology), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (ROUTER, health.SERVICE_NAME, reflection.SERVICE_NAME)
        node_names = (service.full_name for service in NODE_SERVICES)
        reflection.enable_server_reflection((*names, *node_names), server)
        # Last: what the ones above do not answer is passed on.
        forwarding = Forwarding(self.topology, self._upstreams, self._suspect)
        server.add_generic_rpc_handlers((forwarding,))
        await self._set_health(available=False)
        try:
            self.port = server.add_insecure_port(settings.listen)
        except RuntimeError as error:
            await self.stop()
            raise _refusal(settings.listen, "--listen") from error
        if settings.http_listen:
            try:
                await self._open_http()
            except OSError as error:
                await self.stop()
                raise _refusal(settings.http_listen, "--http-listen") from error
        await server.start()
        self._tasks = [
            asyncio.create_task(prober.run(), name=f"prober {name}")
            for name, prober in self._probers.items()
        ]
        self._tasks.append(asyncio.create_task(self._follow_health(), name="follow health"))
        if self._http is not None:
            self._tasks.append(asyncio.create_task(self._http.look_after(), name="http care"))
        log.info(
            "router_started",
            address=f"{settings.listen.rpartition(':')[0]}:{self.port}",
            regions=dict(settings.region),
            cluster_id=settings.cluster_id,
            http_address=f"{settings.http_listen.rpartition(':')[0]}:{self.http_port}"
            if settings.http_listen
            else "",
        )

    async def _open_http(self) -> None:
        pools = {}
        for name, address in self.settings.http_region.items():
            host, _, port = address.rpartition(":")
            pools[name] = Pool(host.strip("[]"), int(port), self._http_limits)
        self._http = HttpDoor(
            HttpState(
                self.topology,
                self._upstreams,
                pools,
                self._suspect,
                self._http_limits,
                failover_named=self.settings.failover_named_regions,
            )
        )
        host, _, port = self.settings.http_listen.rpartition(":")
        self.http_port = await self._http.open(host.strip("[]"), int(port))

    def _suspect(self, region: str) -> None:
        self._probers[region].suspect()

    async def wait_for_crash(self) -> None:
        """Return when a part of the router broke, which is our own mistake.

        Raises:
            Exception: What broke it.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Let calls in flight finish for a while, then end what is left."""
        log.info("router_stopping", calls=sum(len(up.live) for up in self._upstreams.values()))
        await self._health.enter_graceful_shutdown()
        self.topology.close()
        drain_s = self.settings.drain_ms / 1000
        # Both ports drain at the same time.
        http = asyncio.create_task(self._close_http(drain_s))
        if self._server is not None:
            # Streams do not end by themselves: they are cut with a status before the server would
            # take their connections away.
            ended = asyncio.create_task(self._server.stop(drain_s + 1))
            await asyncio.wait((ended,), timeout=drain_s)
            for upstream in self._upstreams.values():
                upstream.cut()
            await ended
        await http
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for upstream in self._upstreams.values():
            await upstream.channel.close()
        log.info("router_stopped")

    async def _close_http(self, drain_s: float) -> None:
        if self._http is not None:
            await self._http.close(drain_s)

    async def _follow_health(self) -> None:
        async for snapshot in self.topology.watch():
            await self._set_health(available=any(view.available for view in snapshot.regions))

    async def _set_health(self, *, available: bool) -> None:
        status = health_pb2.HealthCheckResponse.ServingStatus
        for service in ("", ROUTER):
            await self._health.set(service, status.SERVING if available else status.NOT_SERVING)


def _refusal(listen: str, flag: str) -> RefusedToStart:
    host, _, port = listen.rpartition(":")
    return RefusedToStart(
        f"cannot listen on port {port} of {host}",
        "another process has the port, or the host is not one of this machine: stop that "
        f"process (is a router running already?), or choose another {flag}",
    )


async def serve(settings: RouterSettings) -> None:
    """Run a router until SIGTERM or SIGINT.

    Raises:
        RefusedToStart: The address cannot be listened on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    app = RouterApp(settings)
    await app.start()
    waits = (
        asyncio.create_task(stop.wait()),
        asyncio.create_task(app.wait_for_crash()),
    )
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in pending:
        wait.cancel()
    await app.stop()
    for wait in done:
        wait.result()  # A router that lost a part ends with a trace, not as if nothing was.
