"""Checks that the service words in its own way, before or after those of the model.

Sources: captures of paritysuite/dynamodb-conformance (batches), the catalogue of ack-api-quirks
(tags, names of global tables, Contributor Insights), dynalite's tests (missing ARNs of tags).
"""

from collections.abc import Callable, Mapping
from typing import Any

from antipodes.core.errors import ValidationException
from antipodes.core.model.schema import Shape, shapes
from antipodes.core.model.violations import find_keys, report

TAG_KEY_LENGTH_MAX = 128
TAG_VALUE_LENGTH_MAX = 256


def check_names(shape: Shape, request: Mapping[str, Any]) -> None:
    """Check the names whose length is looked at before everything else.

    Raises:
        ValidationException: One is too short or too long.
    """
    for name, member in shape.members.items():
        value = request.get(name)
        if member.own is None or value is None:
            continue
        low, high = member.minimum or 0, member.maximum or 0
        if not low <= len(value) <= high:
            raise ValidationException(
                f"{member.own} must be at least {low} characters long and at most {high}"
                " characters long"
            )


def _check_batch_get(request: Mapping[str, Any]) -> None:
    if not request["RequestItems"]:
        raise ValidationException("The requestItems parameter is required for BatchGetItem")


def _check_batch_write(request: Mapping[str, Any]) -> None:
    items = request["RequestItems"]
    if not items:
        raise ValidationException("The requestItems parameter is required for BatchWriteItem")
    known = shapes()
    report(find_keys(known["BatchWriteItemRequestMap"], known["BatchTable"], items, "requestItems"))


def _check_arn(request: Mapping[str, Any]) -> None:
    if not request.get("ResourceArn"):
        raise ValidationException("Invalid TableArn")


def _check_tags(request: Mapping[str, Any]) -> None:
    for tag in request.get("Tags") or ():
        _check_tag_key(tag.get("Key"))
        value = tag.get("Value")
        if value is None or len(value) > TAG_VALUE_LENGTH_MAX:
            shown = "null" if value is None else value
            raise ValidationException(f"The Tag Value provided is invalid, Value: {shown}")


def _check_tag_key(key: str | None) -> None:
    if not key or len(key) > TAG_KEY_LENGTH_MAX:
        shown = "null" if key is None else key
        raise ValidationException(f"The Tag Key provided is invalid, Key: {shown}")


def _check_tag_resource(request: Mapping[str, Any]) -> None:
    _check_arn(request)
    if not request.get("Tags"):
        raise ValidationException("Atleast one Tag needs to be provided as Input.")
    _check_tags(request)


def _check_untag_resource(request: Mapping[str, Any]) -> None:
    _check_arn(request)
    if not request.get("TagKeys"):
        raise ValidationException("Atleast one Tag Key needs to be provided as Input.")
    for key in request["TagKeys"]:
        _check_tag_key(key)


LAST: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "BatchGetItem": _check_batch_get,
    "BatchWriteItem": _check_batch_write,
    "CreateTable": _check_tags,
    "ListTagsOfResource": _check_arn,
    "TagResource": _check_tag_resource,
    "UntagResource": _check_untag_resource,
}
"""Per operation, what is checked after the model."""
