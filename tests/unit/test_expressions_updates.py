"""Updates: what DynamoDB refuses before and after it has read the item, and what comes out."""

from typing import Any

import pytest

from antipodes.core.attributes import normal_attributes
from antipodes.core.errors import ValidationException
from antipodes.core.expressions import ExpressionContext, UpdateResult, apply_update, check_keys

KEY = {"pk": {"S": "k"}}
WRONG_TYPE = "An operand in the update expression has an incorrect data type"
NO_PLACE = "The document path provided in the update expression is invalid for update"
MISSING = "The provided expression refers to an attribute that does not exist in the item"
OVERFLOW = (
    "Number overflow. Attempting to store a number with magnitude larger than supported range"
)
UNDERFLOW = (
    "Number underflow. Attempting to store a number with magnitude smaller than supported range"
)


def update(
    text: str, item: dict[str, Any] | None, values: dict[str, Any] | None = None, **names: str
) -> UpdateResult:
    """Apply an update; the item's key is added, values are given without colon."""
    given = None if values is None else {f":{name}": value for name, value in values.items()}
    bound = ExpressionContext({f"#{n}": name for n, name in names.items()} or None, given).update(
        text
    )
    old = None if item is None else normal_attributes({**KEY, **item})[0]
    return apply_update(bound, old, KEY)


def after(text: str, item: dict[str, Any], values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give the new item without its key."""
    new = update(text, item, values).item
    assert new is not None
    assert new.pop("pk") == KEY["pk"]
    return new


def refusal(
    text: str,
    item: dict[str, Any] | None = None,
    values: dict[str, Any] | None = None,
    **names: str,
) -> str:
    with pytest.raises(ValidationException) as caught:
        update(text, item, values, **names)
    return caught.value.message.removeprefix("Invalid UpdateExpression: ")


def n(number: int) -> dict[str, str]:
    return {"N": str(number)}


def numbers(*given: int) -> dict[str, Any]:
    return {"L": [n(number) for number in given]}


# Before the item is read.


def test_undefined_names_come_before_undefined_values() -> None:
    assert refusal("set a = :v, #b = :w", values={"x": n(1)}, c="c") == (
        "An expression attribute name used in the document path is not defined; attribute name: #b"
    )
    assert refusal("set a = b + :w add c :v") == (
        "An expression attribute value used in expression is not defined; attribute value: :w"
    )


@pytest.mark.parametrize(
    ("text", "one", "two"),
    [
        ("set d[1] = a, d.b = a, c[1].a = a, #c = if_not_exists(a, b)", "[c, [1], a]", "[c]"),
        ("remove a, a", "[a]", "[a]"),
        ("remove a.b set a.b.d = f", "[a, b]", "[a, b, d]"),
        ("set a.b.d = f remove a.b", "[a, b, d]", "[a, b]"),
        ("remove a[1], a[1]", "[a, [1]]", "[a, [1]]"),
    ],
)
def test_two_actions_do_not_write_to_one_place(text: str, one: str, two: str) -> None:
    names = {"c": "c"} if "#c" in text else {}
    assert refusal(text, None, None, **names) == (
        "Two document paths overlap with each other; must remove or rewrite one of these paths;"
        f" path one: {one}, path two: {two}"
    )


@pytest.mark.parametrize(
    ("text", "one", "two"),
    [
        ("remove a.#c set a[1] = #d", "[a, c]", "[a, [1]]"),
        ("set a.b[0].e = f remove a.b.g", "[a, b, [0], e]", "[a, b, g]"),
    ],
)
def test_one_place_is_not_a_map_and_a_list(text: str, one: str, two: str) -> None:
    names = {"c": "c", "d": "d"} if "#c" in text else {}
    assert refusal(text, None, None, **names) == (
        "Two document paths conflict with each other; must remove or rewrite one of these paths;"
        f" path one: {one}, path two: {two}"
    )


def test_a_name_that_looks_like_an_index_is_a_name() -> None:
    assert "path one: [a, [3]], path two: [a, [3]]" in refusal("remove a.#d, a.#d", d="[3]")
    assert after("remove a[3]", {"a": {"L": []}}) == {"a": {"L": []}}


@pytest.mark.parametrize(
    ("operator", "kind", "value"),
    [
        ("ADD", "STRING", {"S": "a"}),
        ("ADD", "BINARY", {"B": "YQ=="}),
        ("ADD", "NULL", {"NULL": True}),
        ("ADD", "BOOLEAN", {"BOOL": True}),
        ("ADD", "LIST", {"L": []}),
        ("ADD", "MAP", {"M": {}}),
        ("DELETE", "NUMBER", {"N": "1"}),
        ("DELETE", "LIST", {"L": []}),
        ("DELETE", "MAP", {"M": {}}),
    ],
)
def test_add_and_delete_take_few_types(operator: str, kind: str, value: Any) -> None:
    assert refusal(f"{operator} a :v", values={"v": value}) == (
        "Incorrect operand type for operator or function;"
        f" operator: {operator}, operand type: {kind}"
    )


@pytest.mark.parametrize(
    ("text", "operator", "kind"),
    [
        ("set a = list_append(b, :s)", "list_append", "S"),
        ("set a = list_append(:m, b)", "list_append", "M"),
        ("set a = b + :s", "+", "S"),
        ("set a = :l - b", "-", "L"),
    ],
)
def test_operands_of_set_have_a_fitting_type(text: str, operator: str, kind: str) -> None:
    values = {"s": {"S": "a"}, "m": {"M": {}}, "l": {"L": []}}
    given = {name: value for name, value in values.items() if f":{name}" in text}
    assert refusal(text, values=given) == (
        "Incorrect operand type for operator or function;"
        f" operator or function: {operator}, operand type: {kind}"
    )


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("set a = if_not_exists(b)", "if_not_exists", 1),
        ("set a = list_append(b, c, d)", "list_append", 3),
        ("set a = list_append(b, if_not_exists(c, d, e))", "if_not_exists", 3),
    ],
)
def test_functions_of_set_have_two_operands(text: str, name: str, count: int) -> None:
    assert refusal(text) == (
        "Incorrect number of operands for operator or function;"
        f" operator or function: {name}, number of operands: {count}"
    )


def test_if_not_exists_asks_about_a_path() -> None:
    assert refusal("set a = if_not_exists(:v, b)", values={"v": n(1)}) == (
        "Operator or function requires a document path; operator or function: if_not_exists"
    )


def test_the_key_is_not_written_to() -> None:
    bound = ExpressionContext().update("set a = b remove pk.x")
    with pytest.raises(ValidationException) as caught:
        check_keys(bound, ("pk", "a"))
    assert caught.value.message == (
        "One or more parameter values were invalid: Cannot update attribute pk."
        " This attribute is part of the key"
    )


# SET.


def test_set_writes_values_of_the_request_and_of_the_item() -> None:
    item = {"a": n(1), "m": {"M": {"x": n(2)}}}
    assert after("set a = :v, b = m, m.y = a", item, {"v": {"S": "x"}}) == {
        "a": {"S": "x"},
        "b": {"M": {"x": n(2)}},
        "m": {"M": {"x": n(2), "y": n(1)}},
    }


def test_all_actions_read_the_old_item() -> None:
    assert after(
        "set a = b, b = a remove c add d :v", {"a": n(1), "b": n(2), "c": n(3)}, {"v": n(1)}
    ) == {"a": n(2), "b": n(1), "d": n(1)}


def test_neither_the_old_item_nor_the_values_change() -> None:
    old = normal_attributes({**KEY, "l": numbers(1), "m": {"M": {"l": numbers(1)}}})[0]
    value = {":v": numbers(5)}
    bound = ExpressionContext(None, value).update(
        "set l[1] = :v, m.l = list_append(m.l, :v), m.v = :v"
    )
    first = apply_update(bound, old, KEY)
    second = apply_update(bound, first.item, KEY)
    assert old == {**KEY, "l": numbers(1), "m": {"M": {"l": numbers(1)}}}
    assert value == {":v": numbers(5)}
    assert first.item == {
        **KEY,
        "l": {"L": [n(1), numbers(5)]},
        "m": {"M": {"l": numbers(1, 5), "v": numbers(5)}},
    }
    assert second.item is not None
    assert second.item["m"]["M"]["l"] == numbers(1, 5, 5)


def test_sums_and_differences_are_exact() -> None:
    values = {"v": {"N": "0.1"}}
    assert after("set a = a + :v", {"a": {"N": "0.2"}}, values) == {"a": {"N": "0.3"}}
    assert after("set a = a - :v", {"a": {"N": "-3"}}, values) == {"a": {"N": "-3.1"}}
    assert after("set a = :v - a", {"a": {"N": "0.10"}}, values) == {"a": {"N": "0"}}


def test_thirty_eight_digits_are_kept_and_more_are_an_overflow() -> None:
    most = {"a": {"N": "9" * 38}}
    assert after("set a = a - :v", most, {"v": n(1)}) == {"a": {"N": "9" * 37 + "8"}}
    assert after("set a = a + :v", most, {"v": n(1)}) == {"a": {"N": "1" + "0" * 38}}
    assert refusal("set a = a + :v", most, {"v": {"N": "0.1"}}) == OVERFLOW
    assert refusal("set a = a + :v", {"a": {"N": "1E50"}}, {"v": n(1)}) == OVERFLOW


def test_sums_stay_in_the_range_of_numbers() -> None:
    greatest = {"N": "9.9999999999999999999999999999999999999E+125"}
    assert refusal("set a = a + :v", {"a": greatest}, {"v": greatest}) == OVERFLOW
    assert refusal("add a :v", {"a": greatest}, {"v": greatest}) == OVERFLOW
    item = {"a": {"N": "1.1E-130"}}
    assert refusal("set a = a - :v", item, {"v": {"N": "1E-130"}}) == UNDERFLOW


@pytest.mark.parametrize("text", ["set b = a + :v", "set b = :v - a", "set b = list_append(l, a)"])
def test_operands_of_other_types_are_refused(text: str) -> None:
    item = {"a": {"S": "x"}, "l": {"L": []}}
    values = {"v": n(1)} if ":v" in text else None
    assert refusal(text, item, values) == WRONG_TYPE


@pytest.mark.parametrize(
    "text",
    ["set b = a", "set b = a + :v", "set b = m.x", "set b = l[1]", "set b = if_not_exists(a, c)"],
)
def test_set_reads_only_what_exists(text: str) -> None:
    item = {"m": {"M": {}}, "l": {"L": [n(1)]}}
    assert refusal(text, item, {"v": n(1)} if ":v" in text else None) == MISSING


def test_if_not_exists_gives_what_is_there_or_else_its_second_operand() -> None:
    text = "set a = if_not_exists(a, :v) + :v, b = if_not_exists(m.x, :v)"
    assert after(text, {"a": n(5), "m": {"M": {}}}, {"v": n(1)}) == {
        "a": n(6),
        "b": n(1),
        "m": {"M": {}},
    }
    assert after(text, {}, {"v": n(1)}) == {"a": n(2), "b": n(1)}


def test_list_append_joins_lists() -> None:
    assert after(
        "set a = list_append(a, :v), b = list_append(:v, if_not_exists(b, :e))",
        {"a": numbers(1, 2)},
        {"v": numbers(3), "e": {"L": []}},
    ) == {"a": numbers(1, 2, 3), "b": numbers(3)}


def test_list_elements_are_replaced_and_beyond_the_end_appended_in_order() -> None:
    assert after(
        "set a[9] = :x, a[0] = :y, a[7] = :z",
        {"a": numbers(1, 2)},
        {"x": n(9), "y": n(0), "z": n(7)},
    ) == {"a": numbers(0, 2, 7, 9)}


@pytest.mark.parametrize(
    "text",
    [
        *("set m.x = :v", "set l[0] = :v", "set s.x = :v", "set s[0] = :v", "set ok.x.y = :v"),
        *(
            "set ok[0] = :v",
            "set list1.x = :v",
            "set list1[5].x = :v",
            "add m.x :v",
            "add ok.x.y :v",
        ),
        *("remove m.x", "remove s[0]", "remove ok[0]", "remove ok.x.y", "remove list1[3].x"),
    ],
)
def test_what_leads_to_a_place_must_exist_and_fit(text: str) -> None:
    item = {"s": {"S": "a"}, "ok": {"M": {}}, "list1": numbers(1)}
    assert refusal(text, item, {"v": n(1)} if ":v" in text else None) == NO_PLACE


# REMOVE.


def test_remove_takes_attributes_members_and_elements_away() -> None:
    item = {"a": n(1), "m": {"M": {"x": n(1), "y": n(2)}}, "l": numbers(0, 1, 2, 3)}
    assert after("remove a, m.x, l[2], l[0]", item) == {"m": {"M": {"y": n(2)}}, "l": numbers(1, 3)}


def test_removing_what_is_not_there_does_nothing() -> None:
    item = {"m": {"M": {"y": n(2)}}, "l": numbers(0)}
    assert after("remove a, m.x, l[2]", item) == item


def test_removed_elements_do_not_move_those_that_are_set() -> None:
    assert after(
        "remove l[0] set l[1] = :v, l[5] = :w", {"l": numbers(0, 1, 2)}, {"v": n(8), "w": n(9)}
    ) == {"l": numbers(8, 2, 9)}


def test_a_list_may_become_empty() -> None:
    assert after("remove l[0], m.x", {"l": numbers(0), "m": {"M": {"x": n(1)}}}) == {
        "l": {"L": []},
        "m": {"M": {}},
    }


# ADD and DELETE.


def test_add_adds_numbers_or_begins_with_the_number() -> None:
    assert after("add a :v, b :v, m.x :v", {"a": n(5), "m": {"M": {}}}, {"v": n(-7)}) == {
        "a": n(-2),
        "b": n(-7),
        "m": {"M": {"x": n(-7)}},
    }


def test_add_adds_elements_to_sets() -> None:
    item = {"s": {"SS": ["a", "c"]}, "n": {"NS": ["10", "9"]}}
    values = {"s": {"SS": ["c", "b"]}, "n": {"NS": ["9.5", "10.0"]}}
    assert (
        update("add s :s, n :n, t :s", item, values).item
        == normal_attributes(
            {
                **KEY,
                "s": {"SS": ["a", "b", "c"]},
                "n": {"NS": ["9", "9.5", "10"]},
                "t": {"SS": ["b", "c"]},
            }
        )[0]
    )


def test_delete_takes_elements_out_of_sets() -> None:
    item = {"s": {"SS": ["a", "b", "c"]}, "n": {"NS": ["10", "9"]}}
    values = {"s": {"SS": ["b", "x"]}, "n": {"NS": ["9.0", "10"]}, "t": {"SS": ["a"]}}
    assert after("delete s :s, n :n, t :t", item, values) == {"s": {"SS": ["a", "c"]}}


@pytest.mark.parametrize("text", ["add a :v", "delete a :v", "add m.x :v"])
@pytest.mark.parametrize("current", [{"S": "a"}, {"NS": ["1"]}, {"L": []}, {"N": "1"}])
def test_add_and_delete_want_the_same_type(text: str, current: Any) -> None:
    item = {"a": current, "m": {"M": {"x": current}}}
    assert refusal(text, item, {"v": {"SS": ["a"]}}) == WRONG_TYPE


# A whole update.


def test_an_item_that_is_not_there_is_created_with_its_key() -> None:
    result = update("set a = :v add b :v", None, {"v": n(1)})
    assert result.item == {**KEY, "a": n(1), "b": n(1)}
    assert result.old is None
    assert result.updated_old() == {}
    assert result.updated_new() == {"a": n(1), "b": n(1)}


@pytest.mark.parametrize("text", ["remove a, b.c", "delete a :v"])
def test_taking_away_creates_no_item(text: str) -> None:
    values = {"v": {"SS": ["a"]}} if ":v" in text else None
    result = update(text, None, values)
    assert result.item is None
    assert result.updated_new() == {}


def test_a_new_item_reads_its_key() -> None:
    assert update("set a = pk", None).item == {**KEY, "a": KEY["pk"]}


def test_only_the_paths_that_were_written_are_returned() -> None:
    item = {"a": n(1), "m": {"M": {"x": n(1), "y": n(2), "z": n(3)}}, "l": numbers(0, 1, 2)}
    result = update("set m.x = :v, l[1] = :v, l[7] = :v remove m.y add c :v", item, {"v": n(9)})
    assert result.updated_old() == {"m": {"M": {"x": n(1), "y": n(2)}}, "l": numbers(1)}
    assert result.updated_new() == {"m": {"M": {"x": n(9)}}, "l": numbers(9), "c": n(9)}


def test_what_was_removed_is_only_among_the_old() -> None:
    result = update("remove a, m.x", {"a": n(1), "m": {"M": {"x": n(1)}}})
    assert result.updated_old() == {"a": n(1), "m": {"M": {"x": n(1)}}}
    assert result.updated_new() == {}


def test_elements_are_appended_and_returned_as_dynamodb_does() -> None:
    # Source: dynalite's test/updateItem.js, "should update nested attributes".
    item = {
        "a": {"S": "x"},
        "b": {"M": {"a": n(1), "b": n(2), "c": n(3)}},
        "c": numbers(1, 3),
    }
    text = (
        "set b.c=((c[1])+(b.a)),b.a = a,c[1] = a, c[4] = b.a - b.b, c[2] = b.c add c[8] :b, c[6] :a"
    )
    result = update(text, item, {"a": n(2), "b": {"SS": ["a"]}})
    assert result.updated_new() == {
        "b": {"M": {"a": {"S": "x"}, "c": n(4)}},
        "c": {"L": [{"S": "x"}, n(3), n(2)]},
    }
    assert result.item == {
        **KEY,
        "a": {"S": "x"},
        "b": {"M": {"a": {"S": "x"}, "b": n(2), "c": n(4)}},
        "c": {"L": [n(1), {"S": "x"}, n(3), n(-1), n(2), {"SS": ["a"]}]},
    }


def test_an_update_tells_what_it_names_and_what_it_looks_into() -> None:
    bound = ExpressionContext({"#a": "a"}).update("set #a.x = if_not_exists(b, c[1]) remove d")
    assert bound.heads == ("a", "b", "c", "d")
    assert bound.nested == ("a", "c")
