"""Laws of the check: what it raises, what it lets pass, and that its two halves agree."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antipodes.core.errors import SerializationException, ValidationException
from antipodes.core.model import check, operations
from antipodes.core.model.fast import accepts
from antipodes.core.model.kinds import check_kinds
from antipodes.core.model.schema import Budget, Shape, java_order, shapes
from antipodes.core.model.violations import check_constraints

OPERATIONS = sorted(operations())
CANDIDATES = (
    "abc", "a.b-c_9", ",", "0" * 12, "0" * 16, "0" * 112, "a" * 37, "a" * 255, "a,b",
    "arn:aws:iam::0:role/b",
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
ATTRIBUTES: list[dict[str, Any]] = [
    {"S": "a"}, {"N": "1"}, {"B": "YQ=="}, {"SS": ["a"]}, {"BOOL": False}, {"NULL": True},
    {"L": [{"S": "a"}]}, {"M": {"a": {"NS": ["1"]}}},
]  # fmt: skip


def good(shape: Shape, wild: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """Draw values of a shape; with `wild`, some of what is inside is drawn from there."""

    def inside(inner: Shape) -> st.SearchStrategy[Any]:
        value = good(inner, wild)
        return value if wild is None else st.one_of(value, value, value, wild)

    low, high = shape.minimum or 0, shape.maximum
    few = min(high or low + 3, low + 3)
    match shape.kind:
        case "structure":
            members = {name: inside(member) for name, member in shape.members.items()}
            return st.fixed_dictionaries(
                {name: members[name] for name in shape.required},
                optional={name: members[name] for name in members.keys() - shape.required},
            )
        case "attribute":
            return st.sampled_from(ATTRIBUTES)
        case "list":
            assert shape.element is not None
            return st.lists(inside(shape.element), min_size=low, max_size=few)
        case "map":
            assert shape.element is not None
            keys = st.sampled_from(["abc", "abd", "abe", "abf"])
            return st.dictionaries(keys, inside(shape.element), min_size=low, max_size=few)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            return st.integers(low, high or 2**31 - 1)
        case "double" | "float" | "timestamp":
            return st.integers(0, 2**31) | st.floats(0, 1e9)
        case _:
            return texts(shape)


def texts(shape: Shape) -> st.SearchStrategy[str]:
    low, high = shape.minimum or 0, shape.maximum or 2**20
    if shape.enum:
        return st.sampled_from(shape.enum)
    if shape.regex is None:
        return st.text(min_size=low, max_size=min(high, low + 3))
    matches = shape.regex.fullmatch
    fitting = [text for text in CANDIDATES if matches(text) and low <= len(text) <= high]
    assert fitting, shape.name
    return st.sampled_from(fitting)


def refuses(inspect: Callable[[], None]) -> bool:
    try:
        inspect()
    except (SerializationException, ValidationException):
        return True
    return False


@given(st.sampled_from(OPERATIONS), JSON)
def test_check_when_anything_comes_raises_nothing_unexpected(operation: str, request: Any) -> None:
    refuses(lambda: check(operation, request))


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=15)  # Of each operation.
@given(data=st.data())
def test_check_when_a_request_follows_the_model_lets_it_pass(
    operation: str, data: st.DataObject
) -> None:
    request = data.draw(good(shapes()[operations()[operation].input]))
    if operation in ("BatchGetItem", "BatchWriteItem") and not request["RequestItems"]:
        return
    if operation in ("TagResource", "UntagResource", "ListTagsOfResource"):
        refuses(lambda: check(operation, request))  # They have rules beyond the model.
    elif operation == "CreateTable" and request.get("Tags"):
        refuses(lambda: check(operation, request))
    else:
        check(operation, request)


@given(st.sampled_from(OPERATIONS), st.data())
def test_the_quick_check_refuses_exactly_what_the_thorough_one_does(
    operation: str, data: st.DataObject
) -> None:
    shape = shapes()[operations()[operation].input]
    request = data.draw(good(shape, JSON))
    before = orjson.dumps(request)

    def inspect() -> None:
        check_kinds(shape, request, Budget(), field=False)
        check_constraints(shape, request)

    if accepts(shape)(request):
        # Attribute values are the one thing that the quick check does not look into.
        refused = refuses(lambda: check_constraints(shape, request))
        assert not refused
    else:
        assert refuses(inspect)
    assert orjson.dumps(request) == before


@pytest.mark.parametrize("levels", [40, 400])
def test_check_when_values_are_nested_deeply_does_not_overflow(levels: int) -> None:
    value: Any = {"S": "a"}
    for _ in range(levels):
        value = {"L": [value]}
    assert refuses(lambda: check("PutItem", {"TableName": "a!", "Item": {"b": value}}))
    assert refuses(
        lambda: check("BatchGetItem", {"RequestItems": {"a!": {"Keys": [{"b": value}]}}})
    )
    writes = [{"PutRequest": {"Item": {"b": value}}}] * 26
    assert refuses(lambda: check("BatchWriteItem", {"RequestItems": {"abc": writes}}))


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("GetItem", {"TableName": "abc", "Key": {}, "AttributesToGet": ["a"] * 500_000}),
        ("TransactWriteItems", {"TransactItems": [{"Put": {}}] * 200_000}),
        ("UpdateTable", {"TableName": "abc", "AttributeDefinitions": [{}] * 200_000}),
        ("UpdateTable", {"TableName": "abc", "GlobalSecondaryIndexUpdates": [*[{}] * 200_000, 1]}),
    ],
)
@pytest.mark.timeout(5)
def test_check_when_a_bad_request_is_huge_does_not_look_at_all_of_it(
    operation: str, request_: Any
) -> None:
    assert refuses(lambda: check(operation, request_))


def test_every_shape_has_an_order_that_keeps_all_members() -> None:
    for shape in shapes().values():
        if shape.kind == "structure":
            assert sorted(java_order(shape.members)) == sorted(shape.members)
            assert {name for name, _, _ in shape.ordered} == set(shape.members)
            assert shape.required <= shape.members.keys()


def test_every_operation_has_an_input_of_known_shape() -> None:
    for operation in operations().values():
        assert shapes()[operation.input].kind == "structure"
