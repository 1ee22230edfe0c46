"""What regions say to each other: core messages to protobuf and back."""

from collections.abc import Iterable

from antipodes.core import tailing
from antipodes.core.versions import Origin
from antipodes.v1 import replication_pb2 as pb


def origin_to_wire(origin: Origin) -> pb.Origin:
    """Print an origin."""
    return pb.Origin(region=origin.region, incarnation=origin.incarnation)


def origin_from_wire(origin: pb.Origin) -> Origin:
    """Read an origin."""
    return Origin(origin.region, origin.incarnation)


def _watermarks_to_wire(pairs: Iterable[tuple[Origin, int]]) -> list[pb.WatermarkEntry]:
    return [pb.WatermarkEntry(origin=origin_to_wire(o), lsn=lsn) for o, lsn in pairs]


def _watermarks_from_wire(entries: Iterable[pb.WatermarkEntry]) -> tuple[tuple[Origin, int], ...]:
    return tuple((origin_from_wire(entry.origin), entry.lsn) for entry in entries)


def request_to_wire(message: tailing.Hello | tailing.Progress) -> pb.TailRequest:
    """Print what a receiver says."""
    if isinstance(message, tailing.Progress):
        return pb.TailRequest(
            progress=pb.Progress(
                watermarks=_watermarks_to_wire(message.watermarks),
                acknowledged_bytes=message.acknowledged_bytes,
            )
        )
    return pb.TailRequest(
        hello=pb.Hello(
            protocol_version=message.protocol_version,
            cluster_id=message.cluster_id,
            receiver=origin_to_wire(message.receiver),
            origin=origin_to_wire(message.origin),
            after_lsn=message.after_lsn,
        )
    )


def request_from_wire(message: pb.TailRequest) -> tailing.Hello | tailing.Progress | None:
    """Read what a receiver says; None for a kind that this version does not know."""
    match message.WhichOneof("message"):
        case "hello":
            hello = message.hello
            return tailing.Hello(
                hello.protocol_version, hello.cluster_id, origin_from_wire(hello.receiver),
                origin_from_wire(hello.origin), hello.after_lsn,
            )  # fmt: skip
        case "progress":
            return tailing.Progress(
                _watermarks_from_wire(message.progress.watermarks),
                message.progress.acknowledged_bytes,
            )
        case None:
            return None


def response_to_wire(
    message: tailing.Welcome | tailing.Batch | tailing.Heartbeat | tailing.Reject,
    cluster_id: str,
    origin: Origin,
) -> pb.TailResponse:
    """Print what an origin says."""
    match message:
        case tailing.Batch():
            return pb.TailResponse(
                batch=pb.Batch(
                    origin=origin_to_wire(origin),
                    prev_lsn=message.prev_lsn,
                    through_lsn=message.through_lsn,
                    entries=message.entries,
                    crc32c=message.crc32c,
                    known_origins=map(origin_to_wire, message.known_origins),
                )
            )
        case tailing.Heartbeat():
            return pb.TailResponse(
                heartbeat=pb.Heartbeat(
                    origin=origin_to_wire(origin),
                    head_lsn=message.head_lsn,
                    origin_head_lsn=message.origin_head_lsn,
                    hlc=message.hlc,
                    wall_ms=message.wall_ms,
                    watermarks=_watermarks_to_wire(message.watermarks),
                    oldest_lsn=1,
                )
            )
        case tailing.Welcome():
            return pb.TailResponse(
                welcome=pb.Welcome(
                    protocol_version=tailing.PROTOCOL_VERSION,
                    cluster_id=cluster_id,
                    origin=origin_to_wire(message.origin),
                    known_origins=map(origin_to_wire, message.known_origins),
                )
            )
        case tailing.Reject():
            return pb.TailResponse(
                reject=pb.Reject(
                    reason=pb.Reject.Reason.ValueType(message.reason.value),
                    message=message.message,
                )
            )


def response_from_wire(
    message: pb.TailResponse,
) -> tailing.Welcome | tailing.Batch | tailing.Heartbeat | tailing.Reject | None:
    """Read what an origin says; None for a kind that this version does not know."""
    match message.WhichOneof("message"):
        case "batch":
            batch = message.batch
            return tailing.Batch(
                batch.prev_lsn, batch.through_lsn, tuple(batch.entries), batch.crc32c,
                tuple(map(origin_from_wire, batch.known_origins)),
            )  # fmt: skip
        case "heartbeat":
            beat = message.heartbeat
            return tailing.Heartbeat(
                beat.head_lsn, beat.origin_head_lsn, beat.hlc, beat.wall_ms,
                _watermarks_from_wire(beat.watermarks),
            )  # fmt: skip
        case "welcome":
            return tailing.Welcome(
                origin_from_wire(message.welcome.origin),
                tuple(map(origin_from_wire, message.welcome.known_origins)),
            )
        case "reject":
            try:
                reason = tailing.RejectReason(message.reject.reason)
            except ValueError:  # a newer peer; its message says what is wrong
                reason = tailing.RejectReason.FENCED
            return tailing.Reject(reason, message.reject.message)
        case None:
            return None
