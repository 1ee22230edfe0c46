"""DynamoDB's expressions: conditions, filters, key conditions, projections and updates.

    text --parser--> unbound tree (kept) --binding--> bound tree --> a function of an item

Legacy parameters enter as bound trees. Expressions are pure: the same text, placeholders and item
give the same answer.
"""

from antipodes.core.expressions.conditions import BoundCondition, evaluate
from antipodes.core.expressions.context import (
    ExpressionContext,
    check_filter_keys,
    check_parameters,
    check_scalar_keys,
)
from antipodes.core.expressions.key_conditions import (
    KeyCondition,
    KeyRange,
    key_condition,
    key_range,
    key_range_of,
)
from antipodes.core.expressions.legacy import (
    attribute_updates,
    attributes_to_get,
    expected_condition,
    filter_condition,
    key_conditions,
)
from antipodes.core.expressions.projections import BoundProjection, project
from antipodes.core.expressions.updates import (
    BoundUpdate,
    UpdateResult,
    apply_update,
    check_keys,
)

__all__ = [
    "BoundCondition",
    "BoundProjection",
    "BoundUpdate",
    "ExpressionContext",
    "KeyCondition",
    "KeyRange",
    "UpdateResult",
    "apply_update",
    "attribute_updates",
    "attributes_to_get",
    "check_filter_keys",
    "check_keys",
    "check_parameters",
    "check_scalar_keys",
    "evaluate",
    "expected_condition",
    "filter_condition",
    "key_condition",
    "key_conditions",
    "key_range",
    "key_range_of",
    "project",
]
