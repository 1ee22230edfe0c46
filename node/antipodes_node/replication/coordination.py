"""Carrying table changes through all regions that take part.

The rules stand in `antipodes.core.catalog`; here is who calls whom, and when again.
"""

import asyncio
import contextlib

import grpc
import grpc.aio
import orjson
import structlog

from antipodes.core.catalog import COMMITTED, PREPARED, Change
from antipodes.core.errors import (
    AntipodesError,
    Rejected,
    ServiceUnavailable,
    ValidationException,
)
from antipodes.core.replication import ChangeConfirmed, ChangeDecided, ChangeProposed
from antipodes.core.tailing import PROTOCOL_VERSION
from antipodes.v1 import replication_pb2 as pb
from antipodes.wire import errors as wire_errors
from antipodes_node.driver import Driver
from antipodes_node.replication.peers import Peers

log = structlog.get_logger()

CALL_SECONDS_MAX = 5.0
CONNECT_SECONDS_MAX = 1.5
"""Longer than gRPC pauses between two tries to connect."""
RESUME_SECONDS = 1.0
"""How often undecided and unconfirmed changes are looked at again."""


class Coordinator:
    """This region's part in table changes: as coordinator of its own, as participant in others'.

    Args:
        cluster_id: Of this cluster.
        region: This region.
        driver: Makes each step durable.
        peers: The other regions.
    """

    def __init__(self, cluster_id: str, region: str, driver: Driver, peers: Peers) -> None:
        self._cluster_id = cluster_id
        self._region = region
        self._driver = driver
        self._peers = peers
        self._deciding: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take up what a crash or a dead peer has left open, now and from time to time."""
        self._task = asyncio.create_task(self._resume_forever(), name="coordinator")

    async def stop(self) -> None:
        """Stop looking after open changes; they are durable."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # --- as coordinator

    async def carry_out(self, change: Change) -> None:
        """Make a change happen in all participants, or in none.

        Raises:
            AntipodesError: It happened nowhere; says which region objected or does not answer.
        """
        others = [region for region in change.participants if region != self._region]
        self._deciding.add(change.id)
        try:
            await self._driver.happen(ChangeProposed(change))
            results = await asyncio.gather(
                *(self._prepare_at(region, change) for region in others), return_exceptions=True
            )
            problem = next((r for r in results if isinstance(r, BaseException)), None)
            await self._driver.happen(ChangeDecided(change.id, commit=problem is None))
        finally:
            self._deciding.discard(change.id)
        log.info(
            "table_change_decided", kind=change.kind, table=change.name, change=change.id,
            committed=problem is None,
        )  # fmt: skip
        told = [self._tell(region, change.id, problem is None) for region in others]
        await asyncio.gather(*told)
        if problem is not None:
            raise problem

    async def _prepare_at(self, region: str, change: Change) -> None:
        request = pb.PrepareTableChangeRequest(
            cluster_id=self._cluster_id,
            protocol_version=PROTOCOL_VERSION,
            coordinator=self._region,
            change_id=change.id,
            change=orjson.dumps(change.to_dict()),
        )
        cause: AntipodesError = ServiceUnavailable(
            f"nothing answers at {self._peers.addresses[region]}"
        )
        if await self._peers.connected(region, CONNECT_SECONDS_MAX):
            try:
                await self._peers.replication(region).PrepareTableChange(
                    request, timeout=CALL_SECONDS_MAX
                )
            except grpc.aio.AioRpcError as error:
                cause = wire_errors.from_call(error)
                if isinstance(cause, Rejected):
                    raise cause from error
            else:
                return
        raise ServiceUnavailable(
            f"region {region} cannot take part ({cause}); the change of table {change.name}"
            " was made in no region; try again when all its regions are up"
        )

    async def _tell(self, region: str, change_id: str, commit: bool) -> None:
        """Tell a participant the decision; what does not arrive is repeated until it does."""
        request = pb.DecideTableChangeRequest(
            cluster_id=self._cluster_id, change_id=change_id, commit=commit
        )
        try:
            await self._peers.replication(region).DecideTableChange(
                request, timeout=CALL_SECONDS_MAX
            )
        except grpc.aio.AioRpcError as error:
            log.warning(
                "table_decision_not_delivered", region=region, change=change_id,
                problem=error.details(),
            )  # fmt: skip
            return
        if commit:
            await self._driver.happen(ChangeConfirmed(change_id, region))

    # --- as participant

    async def prepare(self, request: pb.PrepareTableChangeRequest) -> None:
        """Prepare a change that another region coordinates.

        Raises:
            AntipodesError: This region objects.
        """
        self._check_cluster(request.cluster_id, request.coordinator)
        if request.protocol_version != PROTOCOL_VERSION:
            raise ValidationException(
                f"region {request.coordinator} speaks replication protocol"
                f" {request.protocol_version}, region {self._region} speaks {PROTOCOL_VERSION};"
                " upgrade the older one"
            )
        try:
            change = Change.from_dict(orjson.loads(request.change))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValidationException(
                f"the table change of region {request.coordinator} cannot be read: {error!r};"
                " upgrade all regions to the same version"
            ) from error
        unknown = set(change.regions) - self._peers.regions - {self._region}
        if unknown:
            raise ValidationException(
                f"region {self._region} does not know region {min(unknown)};"
                f" add --peer {min(unknown)}=HOST:PORT there"
            )
        await self._driver.happen(ChangeProposed(change))

    async def decide(self, request: pb.DecideTableChangeRequest) -> None:
        """Carry out what the coordinator decided."""
        self._check_cluster(request.cluster_id, "the coordinator")
        await self._driver.happen(ChangeDecided(request.change_id, request.commit))

    def decision(self, request: pb.GetTableDecisionRequest) -> pb.GetTableDecisionResponse:
        """Say what became of a change that this region coordinates."""
        self._check_cluster(request.cluster_id, "the participant")
        pending = self._driver.view.pending.get(request.change_id)
        decisions = pb.GetTableDecisionResponse
        if request.change_id in self._deciding or (pending and pending.state == PREPARED):
            return pb.GetTableDecisionResponse(decision=decisions.DECISION_PENDING)
        if pending and pending.state == COMMITTED:
            return pb.GetTableDecisionResponse(decision=decisions.DECISION_COMMITTED)
        return pb.GetTableDecisionResponse(decision=decisions.DECISION_ABORTED)

    def _check_cluster(self, cluster_id: str, who: str) -> None:
        if cluster_id != self._cluster_id:
            raise ValidationException(
                f"{who} belongs to cluster {cluster_id!r}, region {self._region} to cluster"
                f" {self._cluster_id!r}; check the peer addresses of both"
            )

    # --- after crashes

    async def _resume_forever(self) -> None:
        while True:
            try:
                await self._resume()
            except AntipodesError as error:
                log.warning("table_change_not_resumed", problem=str(error))
            await asyncio.sleep(RESUME_SECONDS)

    async def _resume(self) -> None:
        for pending in list(self._driver.view.pending.values()):
            change = pending.change
            if change.id in self._deciding:
                continue
            if pending.state == COMMITTED:
                await asyncio.gather(
                    *(self._tell(region, change.id, True) for region in pending.unconfirmed)
                )
            elif change.coordinator == self._region:
                # Crashed before the decision, so it was not made.
                await self._driver.happen(ChangeDecided(change.id, commit=False))
                log.info("table_change_abandoned", table=change.name, change=change.id)
            else:
                await self._ask(change)

    async def _ask(self, change: Change) -> None:
        if change.coordinator not in self._peers.regions:
            return
        request = pb.GetTableDecisionRequest(cluster_id=self._cluster_id, change_id=change.id)
        try:
            answer = await self._peers.replication(change.coordinator).GetTableDecision(
                request, timeout=CALL_SECONDS_MAX
            )
        except grpc.aio.AioRpcError:
            return  # asked again later
        if answer.decision in (
            pb.GetTableDecisionResponse.DECISION_COMMITTED,
            pb.GetTableDecisionResponse.DECISION_ABORTED,
        ):
            commit = answer.decision == pb.GetTableDecisionResponse.DECISION_COMMITTED
            await self._driver.happen(ChangeDecided(change.id, commit))
            log.info("table_change_learned", table=change.name, change=change.id, committed=commit)
