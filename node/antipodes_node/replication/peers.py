"""The other regions of the cluster, and the channels to them."""

import asyncio
from collections.abc import Mapping

import grpc.aio

from antipodes.core import limits
from antipodes.v1 import replication_pb2_grpc

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.enable_retries", 0),
)


class Peers:
    """Channels to the other regions, one each, dialled on first use.

    Args:
        addresses: ``host:port`` by region, this region not among them.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.addresses = dict(addresses)
        self._channels = {
            region: grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
            for region, address in addresses.items()
        }

    @property
    def regions(self) -> frozenset[str]:
        """Names of the other regions."""
        return frozenset(self.addresses)

    def replication(self, region: str) -> "replication_pb2_grpc.ReplicationAsyncStub":
        """Give the means to call a region."""
        stub: replication_pb2_grpc.ReplicationAsyncStub = replication_pb2_grpc.ReplicationStub(
            self._channels[region]
        )
        return stub

    async def connected(self, region: str, seconds_max: float) -> bool:
        """Wait for the connection to a region; gRPC by itself gives up between two tries."""
        try:
            async with asyncio.timeout(seconds_max):
                await self._channels[region].channel_ready()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End all connections."""
        for channel in self._channels.values():
            await channel.close()
