"""Laws that hold for all expressions."""

from base64 import b64decode, b64encode
from copy import deepcopy
from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from antipodes.core.attributes import normal_attributes
from antipodes.core.errors import ValidationException
from antipodes.core.expressions import ExpressionContext, apply_update, evaluate, project
from antipodes.core.expressions.ast import (
    Action,
    Add,
    And,
    Arithmetic,
    Between,
    Comparison,
    Condition,
    Delete,
    Function,
    In,
    Not,
    Operand,
    Or,
    Path,
    Projection,
    Remove,
    Section,
    Set,
    Update,
    Value,
)
from antipodes.core.expressions.parser import parse_condition, parse_projection, parse_update
from antipodes.core.expressions.printing import (
    print_condition,
    print_projection,
    print_update,
)

Json: TypeAlias = dict[str, Any]

NAMES = ["a", "b", "c1", "x_y", "#a", "#0"]
SIGNS = ["=", "<>", "<", "<=", ">", ">="]

paths = st.builds(
    lambda head, steps: Path((head, *steps)),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(NAMES) | st.integers(0, 20), max_size=3),
)
placeholders = st.builds(Value, st.sampled_from([":v", ":0", ":w_1"]))
leaves: st.SearchStrategy[Operand] = paths | placeholders
operands: st.SearchStrategy[Operand] = leaves | st.builds(
    Function, st.just("size"), st.tuples(leaves)
)
tests: st.SearchStrategy[Condition] = (
    st.builds(Comparison, st.sampled_from(SIGNS), operands, operands)
    | st.builds(Between, operands, operands, operands)
    | st.builds(In, operands, st.lists(operands, min_size=1, max_size=3).map(tuple))
    | st.builds(Function, st.just("attribute_exists"), st.tuples(paths))
    | st.builds(Function, st.sampled_from(["begins_with", "contains"]), st.tuples(leaves, leaves))
)


def joined(terms: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(terms, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, terms) | st.builds(And, several) | st.builds(Or, several)


conditions = st.recursive(tests, joined, max_leaves=8)

values_of_set: st.SearchStrategy[Operand | Arithmetic] = (
    leaves
    | st.builds(Function, st.just("if_not_exists"), st.tuples(paths, leaves))
    | st.builds(Function, st.just("list_append"), st.tuples(leaves, leaves))
    | st.builds(Arithmetic, st.sampled_from("+-"), leaves, leaves)
)
actions: dict[str, st.SearchStrategy[Action]] = {
    "SET": st.builds(Set, paths, values_of_set),
    "REMOVE": st.builds(Remove, paths),
    "ADD": st.builds(Add, paths, placeholders),
    "DELETE": st.builds(Delete, paths, placeholders),
}


@st.composite
def updates(draw: st.DrawFn) -> Update:
    keywords = draw(st.lists(st.sampled_from(list(actions)), min_size=1, unique=True))
    return Update(
        tuple(
            Section(word, tuple(draw(st.lists(actions[word], min_size=1, max_size=3))))
            for word in keywords
        )
    )


@given(conditions)
def test_a_condition_printed_and_parsed_is_the_same(condition: Condition) -> None:
    assert parse_condition("FilterExpression", print_condition(condition)) == condition


@given(updates())
def test_an_update_printed_and_parsed_is_the_same(update: Update) -> None:
    assert parse_update(print_update(update)) == update


@given(st.lists(paths, min_size=1, max_size=4))
def test_a_projection_printed_and_parsed_is_the_same(found: list[Path]) -> None:
    projection = Projection(tuple(found))
    assert parse_projection(print_projection(projection)) == projection


@given(st.text("()abAND =<>:v#,.[0]!sizecontains", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_projection, parse_update, lambda t: parse_condition("FilterExpression", t)):
        try:
            parse(text)
        except ValidationException as error:
            assert error.message.startswith("Invalid ")  # noqa: PT017


numbers = st.integers(-30, 30).map(lambda n: {"N": str(Decimal(n) / 10)})
binaries = st.binary(max_size=3).map(lambda raw: {"B": b64encode(raw).decode()})
strings = st.text("ab\uffff\U00010000", max_size=3).map(lambda text: {"S": text})
scalars: st.SearchStrategy[Json] = (
    numbers
    | strings
    | binaries
    | st.just({"NULL": True})
    | st.booleans().map(lambda b: {"BOOL": b})
)
sets = st.lists(st.sampled_from("abc"), min_size=1, unique=True).map(lambda s: {"SS": s})
anything: st.SearchStrategy[Json] = st.recursive(
    scalars | sets,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: {"L": found})
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(lambda found: {"M": found})
    ),
    max_leaves=6,
)


def holds(text: str, left: Json, right: Json) -> bool:
    item = normal_attributes({"l": left, "r": right})[0]
    return evaluate(ExpressionContext().condition(text), item)


def reference(value: Json) -> Any:
    """Give something that Python compares as DynamoDB compares the value."""
    [(kind, content)] = value.items()
    match kind:
        case "N":
            return Decimal(content)
        case "S":
            return content.encode()
        case "B":
            return b64decode(content)
        case _:
            return None


@given(anything, anything)
def test_operands_are_equal_or_unequal(left: Json, right: Json) -> None:
    assert holds("l = r", left, right) is not holds("l <> r", left, right)
    assert holds("l = r", left, right) is holds("r = l", left, right)
    assert evaluate(
        ExpressionContext(None, {":v": left}).condition("a = :v"), normal_attributes({"a": left})[0]
    )


@given(scalars, scalars)
def test_the_order_is_that_of_numbers_and_bytes(left: Json, right: Json) -> None:
    one, other = reference(left), reference(right)
    comparable = one is not None and type(one) is type(other)
    comparable = comparable and left.keys() == right.keys()
    assert holds("l < r", left, right) is (comparable and one < other)
    assert holds("l <= r", left, right) is (comparable and one <= other)
    assert holds("l > r", left, right) is (comparable and one > other)
    assert holds("l >= r", left, right) is (comparable and one >= other)


@given(scalars.filter(lambda value: reference(value) is not None), scalars)
def test_values_of_the_request_compare_as_values_of_the_item(value: Json, stored: Json) -> None:
    item = normal_attributes({"l": stored, "r": value})[0]
    for sign in SIGNS:
        with_value = ExpressionContext(None, {":v": value})
        assert evaluate(with_value.condition(f"l {sign} :v"), item) is holds(
            f"l {sign} r", stored, value
        )
        assert evaluate(with_value.condition(f":v {sign} l"), item) is holds(
            f"r {sign} l", stored, value
        )


@given(scalars, scalars, scalars)
def test_between_is_two_comparisons(value: Json, low: Json, high: Json) -> None:
    item = normal_attributes({"v": value, "l": low, "h": high})[0]
    between = ExpressionContext().condition("v between l and h")
    comparisons = ExpressionContext().condition("v >= l and v <= h")
    assert evaluate(between, item) is evaluate(comparisons, item)


ITEM_NAMES = "abc"
steps = st.sampled_from("abc") | st.integers(0, 3)
item_paths = st.builds(
    lambda head, rest: (head, *rest), st.sampled_from(ITEM_NAMES), st.lists(steps, max_size=2)
)
items = st.dictionaries(st.sampled_from(ITEM_NAMES), anything, max_size=3)
orders: st.SearchStrategy[tuple[str, tuple[str | int, ...], Json | None]] = (
    st.tuples(st.just("SET"), item_paths, anything)
    | st.tuples(st.just("REMOVE"), item_paths, st.none())
    | st.tuples(st.just("ADD"), item_paths, numbers | sets)
    | st.tuples(st.just("DELETE"), item_paths, sets)
)


def shown(path: tuple[str | int, ...]) -> str:
    return str(path[0]) + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in path[1:]
    )


class Refused(Exception):
    """The model refuses the update."""


def obey(item: Json, keyword: str, path: tuple[str | int, ...], value: Json | None) -> None:
    """Change a copy of the item step by step; the slow and obvious way."""
    holder: Any = item
    for step, following in pairwise(path):
        wanted = "L" if isinstance(following, int) else "M"
        if not is_in(step, holder) or wanted not in (holder[step] or ()):
            raise Refused
        holder = holder[step][wanted]
    last = path[-1]
    present = is_in(last, holder)
    current = holder[last] if present else None
    match keyword:
        case "SET":
            new = value
        case "REMOVE":
            new = None
        case "ADD":
            new = value if current is None else added(current, value)
        case _:
            new = None if current is None else taken(current, value)
    if present:
        holder[last] = new
    elif new is not None:
        if isinstance(holder, list):
            holder.append(new)
        else:
            holder[last] = new


def is_in(step: str | int, holder: Any) -> bool:
    return step in (range(len(holder)) if isinstance(holder, list) else holder)


def added(current: Json, value: Any) -> Json:
    if current.keys() != value.keys():
        raise Refused
    if "N" in value:
        return {"N": str(Decimal(current["N"]) + Decimal(value["N"]))}
    return {"SS": list({*current["SS"], *value["SS"]})}


def taken(current: Json, value: Any) -> Json | None:
    if "SS" not in current:
        raise Refused
    left = [element for element in current["SS"] if element not in value["SS"]]
    return {"SS": left} if left else None


def swept(value: Any) -> Any:
    """Take away what was removed, at last, so that indexes kept their meaning."""
    if isinstance(value, list):
        return [swept(element) for element in value if element is not None]
    if isinstance(value, dict):
        return {name: swept(member) for name, member in value.items() if member is not None}
    return value


@given(items, st.lists(orders, min_size=1, max_size=4))
def test_updates_do_what_a_naive_model_does(
    item: Json, asked: list[tuple[str, tuple[str | int, ...], Json | None]]
) -> None:
    sections: dict[str, list[str]] = {}
    values: dict[str, Json] = {}
    for number, (keyword, path, value) in enumerate(asked):
        action = shown(path)
        if value is not None:
            action += f" = :{number}" if keyword == "SET" else f" :{number}"
            values[f":{number}"] = value
        sections.setdefault(keyword, []).append(action)
    text = " ".join(f"{word} {', '.join(found)}" for word, found in sections.items())
    try:
        bound = ExpressionContext(None, values or None).update(text)
    except ValidationException as error:
        assert "Two document paths" in error.message  # noqa: PT017
        return
    old = normal_attributes({"pk": {"S": "k"}, **item})[0]
    before = deepcopy(old)
    model: Json = deepcopy(old)
    try:
        # Elements beyond the end are appended in the order of their indexes.
        for keyword, path, value in sorted(
            asked, key=lambda order: [part if isinstance(part, int) else -1 for part in order[1]]
        ):
            obey(model, keyword, path, deepcopy(value))
    except Refused:
        model = {}
    try:
        result = apply_update(bound, old, {"pk": {"S": "k"}})
    except ValidationException:
        assert model == {}
    else:
        assert result.item == normal_attributes(swept(model))[0]
        for name, value in result.updated_old().items():
            assert name in old
            assert type(value) is dict
    assert old == before


@given(items, st.lists(item_paths, min_size=1, max_size=3))
def test_a_projection_of_a_projection_without_lists_is_the_same(
    item: Json, found: list[tuple[str | int, ...]]
) -> None:
    chosen = [path for path in found if not any(isinstance(step, int) for step in path)]
    try:
        projection = ExpressionContext().projection(", ".join(map(shown, chosen)) or "a")
    except ValidationException as error:
        assert "Two document paths" in error.message  # noqa: PT017
        return
    once = project(projection, normal_attributes(item)[0])
    assert project(projection, once) == once
