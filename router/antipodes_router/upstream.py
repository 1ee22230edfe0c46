"""One connection to one region's node, shared by health checks and traffic.

Shared on purpose: a health check then speaks about the very connection that carries the calls, and
the checks keep it open.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import grpc
from grpc import aio

MESSAGE_BYTES_MAX = 64 << 20

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # also how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 5000),  # health checks keep a live connection busy: no ping
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.enable_http_proxy", 0),  # nodes are reached directly, whatever the environment says
    ("grpc.use_local_subchannel_pool", 1),  # its own connection, with its own back-off
)


class Cancellable(Protocol):
    """A call in flight."""

    def cancel(self) -> bool:
        """End the call now."""
        ...


_Callable = TypeVar("_Callable")


class Upstream:
    """The channel to one region's node and the calls in flight on it.

    Args:
        region: Name.
        address: host:port of its node.
        cached: Methods whose callables are worth keeping; bounded, unlike what clients may name.
    """

    def __init__(self, region: str, address: str, cached: frozenset[str] = frozenset()) -> None:
        self.region = region
        self.address = address
        self.channel = aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.live: set[Cancellable] = set()
        self._cached = cached
        self._unary: dict[str, Any] = {}
        self._stream: dict[str, Any] = {}

    def connected(self) -> bool:
        """Tell whether a call would go out on an established connection."""
        return self.channel.get_state() is grpc.ChannelConnectivity.READY

    def unary(self, method: str) -> "aio.UnaryUnaryMultiCallable[bytes, bytes]":
        """Give what calls a method with one request and one response, both raw bytes."""
        return self._callable(self._unary, self.channel.unary_unary, method)

    def stream(self, method: str) -> "aio.StreamStreamMultiCallable[bytes, bytes]":
        """Give what calls any method with raw bytes."""
        return self._callable(self._stream, self.channel.stream_stream, method)

    def cut(self) -> None:
        """Break the calls in flight: the node does not answer, and its peer need not wait."""
        # Whoever finds its call no longer in ``live`` knows that it was cut.
        calls, self.live = self.live, set()
        for call in calls:
            call.cancel()

    def _callable(
        self, kept: dict[str, _Callable], make: Callable[[str], _Callable], method: str
    ) -> _Callable:
        found = kept.get(method)
        if found is None:
            found = make(method)
            if method in self._cached:
                kept[method] = found
        return found
