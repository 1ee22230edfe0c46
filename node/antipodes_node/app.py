"""Builds the parts of a node, and owns the order in which they start and stop."""

import asyncio
import contextlib
import random
import signal
import struct
from typing import Any

import grpc
import grpc.aio
import lmdb
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from antipodes.cli.process import RefusedToStart
from antipodes.core import limits
from antipodes.core.errors import AntipodesError
from antipodes.core.replication import PurgeDue
from antipodes.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    items_pb2,
    items_pb2_grpc,
    replication_pb2,
    replication_pb2_grpc,
    streams_pb2,
    streams_pb2_grpc,
    tables_pb2,
    tables_pb2_grpc,
)
from antipodes_node.doors.grpc.admin import AdminDoor
from antipodes_node.doors.grpc.guard import GuardedServer
from antipodes_node.doors.grpc.items import ItemsDoor
from antipodes_node.doors.grpc.pipeline import PipelineDoor
from antipodes_node.doors.grpc.replication import ReplicationDoor
from antipodes_node.doors.grpc.streams import StreamsDoor
from antipodes_node.doors.grpc.tables import TablesDoor
from antipodes_node.doors.http.protocol import HttpDoor
from antipodes_node.driver import Driver, View
from antipodes_node.replication.coordination import Coordinator
from antipodes_node.replication.peers import Peers
from antipodes_node.replication.receiving import Link
from antipodes_node.replication.sending import TailSending
from antipodes_node.service.operations import Operations
from antipodes_node.service.status import StatusService
from antipodes_node.service.streams import StreamService
from antipodes_node.settings import NodeSettings, parse_address
from antipodes_node.signals import HeadSignal
from antipodes_node.storage.directory import DataDirectory
from antipodes_node.storage.environment import Environment

log = structlog.get_logger()

CARE_SECONDS = 1.0
"""How often leftovers are purged and the health is judged."""

_SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second node on the port must fail, not share it
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
_SERVICES = (items_pb2, tables_pb2, streams_pb2, replication_pb2, admin_pb2)


class Node:
    """One region's node.

    Args:
        settings: Validated settings.

    Attributes:
        port: Where gRPC is answered, once started.
        http_port: Where HTTP is answered; 0 when nowhere.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self.port = 0
        self.http_port = 0
        self._serving = False
        self._resources = contextlib.ExitStack()
        health_module: Any = health  # its stubs do not know the asynchronous servicer
        self._health = health_module.aio.HealthServicer()
        self._stopping = False

    async def start(self) -> None:
        """Open the storage, then the door, then follow the peers.

        Raises:
            RefusedToStart: Something is in the way; nothing is left open.
        """
        settings = self._settings
        try:
            directory = DataDirectory(settings.data_dir, settings.cluster_id, settings.region)
            self._resources.callback(directory.close)
            environment = Environment(
                directory.environment_path, settings.map_bytes, settings.map_bytes_max
            )
            self._resources.callback(environment.close)
            self._build(environment)
            try:
                await self._open_door()
            except BaseException:
                await self._peers.close()
                raise
        except BaseException:
            self._resources.close()
            raise
        self._driver.start()
        self._coordinator.start()
        for link in self._links.values():
            link.start()
        self._care = asyncio.create_task(self._take_care(), name="care")
        await self._set_health(True)
        log.info(
            "node_started", region=settings.region, cluster_id=settings.cluster_id, port=self.port,
            peers=settings.peer, data_dir=str(settings.data_dir),
            head_lsn=self._driver.view.head_lsn,
        )  # fmt: skip

    def _build(self, environment: Environment) -> None:
        settings = self._settings
        try:
            self._driver = Driver(
                settings.region, environment, asyncio.get_running_loop(), self._committed
            )
        except (AntipodesError, lmdb.Error, ValueError, LookupError, struct.error) as error:
            raise RefusedToStart(
                f"the data in {settings.data_dir} cannot be read: {error}",
                "restore the directory from a backup, or run the version that wrote it",
            ) from error
        self._signal = HeadSignal(self._driver.view.head_lsn)
        self._tables = self._driver.view.tables_by_id
        self._peers = Peers(settings.peer)
        self._coordinator = Coordinator(
            settings.cluster_id, settings.region, self._driver, self._peers
        )
        rng = random.Random()  # noqa: S311 - spreads reconnections, keeps no secret
        self._links = {
            region: Link(settings.cluster_id, region, self._driver, self._peers, rng)
            for region in settings.peer
        }
        self._operations = Operations(
            settings.region, environment, self._driver, self._peers, self._coordinator
        )
        self._streams = StreamService(settings.region, environment, self._driver, self._signal)
        self._status = StatusService(
            settings.cluster_id, environment, self._driver, self._links, settings.peer
        )
        self._sending = TailSending(
            settings.cluster_id, environment, self._driver, self._signal, self._peers
        )

    async def _open_door(self) -> None:
        server = grpc.aio.server(options=_SERVER_OPTIONS)
        guarded: Any = GuardedServer(server)
        self._pipeline = PipelineDoor(self._operations, self._driver)
        items = ItemsDoor(self._operations, self._pipeline)
        replication = ReplicationDoor(self._sending, self._coordinator)
        items_pb2_grpc.add_ItemsServicer_to_server(items, guarded)
        tables_pb2_grpc.add_TablesServicer_to_server(TablesDoor(self._operations), guarded)
        streams_pb2_grpc.add_StreamsServicer_to_server(StreamsDoor(self._streams), guarded)
        replication_pb2_grpc.add_ReplicationServicer_to_server(replication, guarded)
        admin_pb2_grpc.add_AdminServicer_to_server(AdminDoor(self._status), guarded)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [s.full_name for m in _SERVICES for s in m.DESCRIPTOR.services_by_name.values()]
        reflection.enable_server_reflection(
            (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        listen = self._settings.listen
        try:
            self.port = server.add_insecure_port(listen)
        except RuntimeError as error:
            raise RefusedToStart(
                f"cannot listen on {listen}: the port is taken, or the address is not local",
                "stop what uses it, or choose another with --listen",
            ) from error
        if self.port == 0:
            raise RefusedToStart(f"cannot listen on {listen}", "choose another with --listen")
        self._server = server
        await self._open_http_door()
        await server.start()

    async def _open_http_door(self) -> None:
        self._http = HttpDoor(
            self._operations, self._driver, self._settings.region, lambda: self._serving
        )
        listen = self._settings.http_listen
        if not listen:
            return
        host, port = parse_address(listen)
        try:
            self.http_port = await self._http.open(host.strip("[]"), port)
        except OSError as error:
            await self._server.stop(None)
            raise RefusedToStart(
                f"cannot listen on {listen}: {error.strerror or error}",
                "stop what uses it, or choose another with --http-listen",
            ) from error

    def _committed(self, view: View) -> None:
        self._signal.advance(view.head_lsn)
        if view.tables_by_id is not self._tables:  # a deleted table ends its subscriptions
            self._tables = view.tables_by_id
            self._signal.wake()

    async def _set_health(self, serving: bool) -> None:
        self._serving = serving
        status = (
            health_pb2.HealthCheckResponse.SERVING
            if serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        await self._health.set("", status)

    async def _take_care(self) -> None:
        """Purge deleted tables, and tell the health service whether writes are taken."""
        serving = True
        while True:
            await asyncio.sleep(CARE_SECONDS)
            with contextlib.suppress(AntipodesError):  # refused: tried again next time
                while self._driver.view.purge_due:
                    await self._driver.happen(PurgeDue())
            can_serve = not self._driver.writes_refused
            if can_serve != serving:
                serving = can_serve
                log.warning("health_changed", serving=serving, problem=self._driver.writes_refused)
                await self._set_health(serving)

    async def stop(self) -> None:
        """Refuse new calls, let those under way finish, and close everything."""
        if self._stopping:
            return
        self._stopping = True
        log.info("node_stopping", region=self._settings.region)
        await self._health.enter_graceful_shutdown()
        self._serving = False
        self._care.cancel()
        await asyncio.gather(
            self._care,
            self._coordinator.stop(),
            *(link.stop() for link in self._links.values()),
            return_exceptions=True,
        )
        # Streams that would go on for ever end by themselves now; calls under way are waited for.
        self._signal.close()
        self._pipeline.drain()
        await asyncio.gather(
            self._server.stop(self._settings.drain_seconds),
            self._http.close(self._settings.drain_seconds),
        )
        await self._peers.close()
        await self._driver.stop()
        self._resources.close()
        log.info("node_stopped", region=self._settings.region)


async def run(settings: NodeSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    node = Node(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await node.start()
    try:
        await stop.wait()
    finally:
        await node.stop()
