"""What a client or a node may take of the router: bytes, connections, time."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the HTTP port; those of a node's door where both have one.

    Attributes:
        head_bytes_max: Request line and headers.
        body_bytes_max: Body of one request, which is kept whole until an answer begins.
        buffered_bytes_max: Bodies of all requests together.
        connections_max: Open connections of clients.
        request_seconds_max: From the first byte of a request to its last.
        idle_seconds_max: A client's connection without a request is closed after this time.
        linger_seconds_max: How long a client that was turned away may go on sending, so that it
            gets to read why.
        upstream_connections_max: Open connections to one region; more requests wait.
        upstream_idle_seconds_max: An unused connection to a node is closed after this time. Well
            below the node's own, so that the node is not the one that closes.
        connect_seconds_max: How long connecting to a node may take; health checks find out sooner
            about one that is gone, and end the wait.
        wait_seconds_max: How long a request may wait for one of a region's connections.
        answer_seconds_max: Pause between two pieces of an answer, and before the first; a node
            gives up a write that has not begun after 60 s.
        care_seconds: Pause between two looks at what has taken too long.
    """

    head_bytes_max: int = 64 * KIB
    body_bytes_max: int = 16 * MIB
    buffered_bytes_max: int = 512 * MIB
    connections_max: int = 4096
    request_seconds_max: float = 30.0
    idle_seconds_max: float = 300.0
    linger_seconds_max: float = 2.0
    upstream_connections_max: int = 512
    upstream_idle_seconds_max: float = 60.0
    connect_seconds_max: float = 3.0
    wait_seconds_max: float = 10.0
    answer_seconds_max: float = 70.0
    care_seconds: float = 1.0
