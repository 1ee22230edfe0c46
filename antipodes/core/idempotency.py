"""Tokens of transactions: the same request under the same token has effect once.

A token counts for ten minutes after its transaction. It is stored in the transaction that it
names, so a restart forgets nothing. Source: API reference, TransactWriteItems, ClientRequestToken.
"""

from itertools import islice
from struct import Struct
from typing import Any

from antipodes.core.errors import IdempotentParameterMismatchException
from antipodes.core.store import Transaction, keys_from

VALID_MS = 600_000
FORGOTTEN_MAX = 10
"""Old tokens removed with each new one."""
_BY_NAME = b"n"
_BY_TIME = b"t"
_TIME = Struct(">Q")


def was_done(txn: Transaction, db: Any, token: str, fingerprint: bytes, now_ms: int) -> bool:
    """Tell whether a transaction under this token has been done.

    Args:
        txn: The write transaction.
        db: Where tokens are stored.
        token: Of the request.
        fingerprint: Of its parameters.
        now_ms: Wall clock.

    Raises:
        IdempotentParameterMismatchException: It has, with other parameters.
    """
    stored = txn.get(_BY_NAME + token.encode(), db=db)
    if stored is None or _TIME.unpack_from(stored)[0] + VALID_MS < now_ms:
        return False
    if stored[_TIME.size :] != fingerprint:
        raise IdempotentParameterMismatchException(
            "The request uses the same client token as a previous, but non-identical request. Do"
            " not reuse a client token with different requests, unless the requests are identical."
        )
    return True


def remember(txn: Transaction, db: Any, token: str, fingerprint: bytes, now_ms: int) -> None:
    """Note that a transaction was done, and forget some of those that no longer count."""
    old = list(islice(keys_from(txn.cursor(db), _BY_TIME), FORGOTTEN_MAX))
    for key in old:
        if _TIME.unpack_from(key, 1)[0] + VALID_MS < now_ms:
            txn.delete(key, db=db)
            txn.delete(_BY_NAME + key[1 + _TIME.size :], db=db)
    time = _TIME.pack(now_ms)
    txn.put(_BY_NAME + token.encode(), time + fingerprint, db=db)
    txn.put(_BY_TIME + time + token.encode(), b"", db=db)
