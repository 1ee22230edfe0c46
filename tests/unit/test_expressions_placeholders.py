"""Placeholders: how they are written, what they stand for, and that all of them are used."""

from base64 import b64encode
from typing import Any

import pytest

from antipodes.core.errors import ValidationException
from antipodes.core.expressions import ExpressionContext, check_parameters, evaluate, project


def refusal(names: dict[str, Any] | None = None, values: dict[str, Any] | None = None) -> str:
    with pytest.raises(ValidationException) as caught:
        ExpressionContext(names, values)
    return caught.value.message


def test_placeholders_stand_for_names_and_values() -> None:
    context = ExpressionContext({"#a": "year", "#1": "a.b"}, {":0": {"N": "1.0"}})
    condition = context.condition("#a.#1 = :0")
    context.finish()
    assert evaluate(condition, {"year": {"M": {"a.b": {"N": "1"}}}})
    assert not evaluate(condition, {"year": {"M": {"a": {"M": {"b": {"N": "1"}}}}}})


def test_what_a_placeholder_stands_for_is_not_a_placeholder_itself() -> None:
    projection = ExpressionContext({"#a": "#b"}).projection("#a")
    assert project(projection, {"#b": {"S": "x"}}) == {"#b": {"S": "x"}}


def test_one_placeholder_may_be_used_in_several_expressions() -> None:
    context = ExpressionContext({"#a": "a"}, {":a": {"S": "x"}})
    context.update("SET #a = :a")
    context.condition("#a <> :a")
    context.finish()


@pytest.mark.parametrize(("what", "maps"), [("Names", ({}, None)), ("Values", (None, {}))])
def test_a_map_of_placeholders_is_not_empty(what: str, maps: tuple[Any, Any]) -> None:
    assert refusal(*maps) == f"ExpressionAttribute{what} must not be empty"


@pytest.mark.parametrize("key", ["", "a", "#", ":a", "#a-b", "#a b", "##", "#ü", "#a\n"])
def test_a_placeholder_of_a_name_is_a_number_sign_and_letters(key: str) -> None:
    assert refusal({key: "a"}) == (
        f'ExpressionAttributeNames contains invalid key: Syntax error; key: "{key}"'
    )


@pytest.mark.parametrize("key", ["", "a", ":", "#a", ":a-b", ":a[0]", "::a"])
def test_a_placeholder_of_a_value_is_a_colon_and_letters(key: str) -> None:
    assert refusal(None, {key: {"S": "a"}}) == (
        f'ExpressionAttributeValues contains invalid key: Syntax error; key: "{key}"'
    )


def test_a_placeholder_has_255_bytes_at_most() -> None:
    assert refusal({"#" + "a" * 255: "a"}) == (
        "ExpressionAttributeNames contains invalid key: The expression attribute map contains a"
        " key that is too long; size of key: 256"
    )
    assert refusal(None, {":" + "a" * 255: {"S": "a"}}) == (
        "ExpressionAttributeValues contains invalid key: The expression attribute map contains a"
        " key that is too long; size of key: 256"
    )
    ExpressionContext({"#" + "a" * 254: "a"}, {":" + "a" * 254: {"S": "a"}})


def test_a_name_is_not_empty() -> None:
    assert refusal({"#n": ""}) == (
        "ExpressionAttributeNames contains invalid value: Empty attribute name for key #n"
    )


def test_a_name_has_65535_bytes_at_most() -> None:
    assert "65536 bytes" in refusal({"#n": "a" * 65536})
    ExpressionContext({"#n": "a" * 65535})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            {},
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ),
        (
            {"S": "a", "N": "1"},
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of"
            " the supported datatypes",
        ),
        ({"N": "b"}, "The parameter cannot be converted to a numeric value: b"),
        (
            {"SS": []},
            "One or more parameter values were invalid: An string set  may not be empty",
        ),
    ],
)
def test_a_wrong_value_is_reported_with_its_placeholder(value: Any, problem: str) -> None:
    assert refusal(None, {":ok": {"S": "a"}, ":b": value}) == (
        f"ExpressionAttributeValues contains invalid value: {problem} for key :b"
    )


def test_values_have_two_mebibytes_together() -> None:
    mebibyte = {"B": b64encode(b"x" * 2**20).decode()}
    ExpressionContext(None, {":a": mebibyte, ":b": mebibyte})
    assert refusal(None, {":a": mebibyte, ":b": mebibyte, ":c": {"S": "x"}}) == (
        "ExpressionAttributeValues exceeds max size"
    )


def test_an_undefined_name_is_shown() -> None:
    with pytest.raises(ValidationException) as caught:
        ExpressionContext().projection("a.#b")
    assert caught.value.message == (
        "Invalid ProjectionExpression: An expression attribute name used in the document path is"
        " not defined; attribute name: #b"
    )


def test_an_undefined_value_is_shown() -> None:
    with pytest.raises(ValidationException) as caught:
        ExpressionContext({"#a": "a"}).condition("#a = :b", "FilterExpression")
    assert caught.value.message == (
        "Invalid FilterExpression: An expression attribute value used in expression is not"
        " defined; attribute value: :b"
    )


def test_unused_names_are_shown_in_their_order() -> None:
    context = ExpressionContext({"#z": "a", "#y": "b", "#x": "c"}, {":v": {"S": "a"}})
    context.projection("#y")
    with pytest.raises(ValidationException) as caught:
        context.finish()
    assert caught.value.message == (
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {#z, #x}"
    )


def test_unused_values_are_shown() -> None:
    context = ExpressionContext(None, {":v": {"S": "a"}, ":w": {"S": "a"}})
    context.condition("a = :v")
    with pytest.raises(ValidationException) as caught:
        context.finish()
    assert caught.value.message == (
        "Value provided in ExpressionAttributeValues unused in expressions: keys: {:w}"
    )


def test_a_path_has_32_levels_at_most() -> None:
    ExpressionContext().projection(".".join(["a"] * 32))
    with pytest.raises(ValidationException) as caught:
        ExpressionContext().projection("a" + "[0]" * 32)
    assert caught.value.message == (
        "Invalid ProjectionExpression: The document path has too many nesting levels;"
        " nesting levels: 33"
    )


QUERY = (
    ("ProjectionExpression", "FilterExpression", "KeyConditionExpression"),
    ("AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions"),
)


def mixture(request: dict[str, Any]) -> str:
    with pytest.raises(ValidationException) as caught:
        check_parameters(request, *QUERY)
    return caught.value.message


def test_expressions_do_not_mix_with_what_they_replaced() -> None:
    request = {"AttributesToGet": [], "QueryFilter": {}, "FilterExpression": ""}
    assert mixture(request) == (
        "Can not use both expression and non-expression parameters in the same request:"
        " Non-expression parameters: {AttributesToGet, QueryFilter}"
        " Expression parameters: {FilterExpression}"
    )


def test_key_conditions_go_together_with_a_filter_expression() -> None:
    check_parameters({"KeyConditions": {}, "FilterExpression": ""}, *QUERY)
    assert mixture({"KeyConditions": {}, "KeyConditionExpression": ""}) == (
        "Can not use both expression and non-expression parameters in the same request:"
        " Non-expression parameters: {KeyConditions}"
        " Expression parameters: {KeyConditionExpression}"
    )


def test_names_need_an_expression() -> None:
    assert mixture({"ExpressionAttributeNames": {}}) == (
        "ExpressionAttributeNames can only be specified when using expressions"
    )


def test_values_need_an_expression_that_can_use_them() -> None:
    assert mixture({"ExpressionAttributeValues": {}, "ProjectionExpression": "a"}) == (
        "ExpressionAttributeValues can only be specified when using expressions:"
        " FilterExpression and KeyConditionExpression are null"
    )
    with pytest.raises(ValidationException) as caught:
        check_parameters({"ExpressionAttributeValues": {}}, ("ConditionExpression",), ("Expected",))
    assert caught.value.message == (
        "ExpressionAttributeValues can only be specified when using expressions:"
        " ConditionExpression is null"
    )
