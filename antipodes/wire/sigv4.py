"""Signature Version 4: who signed a request, and for which region.

The signature itself is not verified yet: `parse` is where a verifier gets its credentials from.
Source: AWS General Reference, "Signature Version 4 signing process".
"""

from typing import NamedTuple

_ALGORITHM = b"AWS4-HMAC-SHA256"


class Credentials(NamedTuple):
    """What the scope of a signature says.

    Attributes:
        access_key: Of whom.
        region: For which region the request was signed.
    """

    access_key: str
    region: str


def parse(authorization: bytes) -> Credentials | None:
    """Read the scope out of an Authorization header; None when it is not one of SigV4."""
    algorithm, _, rest = authorization.partition(b" ")
    if algorithm != _ALGORITHM:
        return None
    for part in rest.split(b","):
        name, _, value = part.strip().partition(b"=")
        if name == b"Credential":
            scope = value.split(b"/")
            if len(scope) == 5 and scope[4] == b"aws4_request":
                return Credentials(
                    scope[0].decode(errors="replace"), scope[2].decode(errors="replace")
                )
    return None
