"""What the text of an expression alone shows to be wrong, in DynamoDB's words."""

from collections.abc import Callable
from functools import partial

import pytest

from antipodes.core.errors import ValidationException
from antipodes.core.expressions.ast import (
    And,
    Arithmetic,
    Between,
    Comparison,
    Function,
    In,
    Not,
    Or,
    Path,
    Remove,
    Set,
    Value,
)
from antipodes.core.expressions.parser import parse_condition, parse_projection, parse_update
from antipodes.core.reserved_words import RESERVED_WORDS

A, B, C = Path(("a",)), Path(("b",)), Path(("c",))
X = Value(":x")


def refusal(what: str, text: str) -> str:
    """Parse what is wrong and give the complaint without its prefix."""
    parsers: dict[str, Callable[[str], object]] = {
        "UpdateExpression": parse_update,
        "ProjectionExpression": parse_projection,
    }
    parse = parsers.get(what, partial(parse_condition, what))
    with pytest.raises(ValidationException) as caught:
        parse(text)
    prefix = f"Invalid {what}: "
    assert caught.value.message.startswith(prefix)
    return caught.value.message.removeprefix(prefix)


def test_not_binds_more_tightly_than_and_and_and_more_tightly_than_or() -> None:
    assert parse_condition("FilterExpression", "NOT a = :x AND b = :x or c = :x") == Or(
        (
            And((Not(Comparison("=", A, X)), Comparison("=", B, X))),
            Comparison("=", C, X),
        )
    )


def test_parentheses_change_what_belongs_together() -> None:
    assert parse_condition("FilterExpression", "not (a = :x or b = :x)") == Not(
        Or((Comparison("=", A, X), Comparison("=", B, X)))
    )


def test_not_may_follow_not() -> None:
    assert parse_condition("FilterExpression", "NOT NOT a = :x") == Not(Not(Comparison("=", A, X)))


def test_keywords_come_in_any_case_and_blanks_may_be_left_out() -> None:
    assert parse_condition("FilterExpression", "(a)bETWEEN(b)aNd(c)anD(:x)In(a,b)") == And(
        (Between(A, B, C), In(X, (A, B)))
    )


def test_a_path_goes_on_behind_its_parentheses() -> None:
    assert parse_condition("FilterExpression", "(b.c).d[1] = :x") == Comparison(
        "=", Path(("b", "c", "d", 1)), X
    )


def test_size_is_an_operand_and_the_other_functions_are_conditions() -> None:
    assert parse_condition("FilterExpression", "size(a) > :x AND contains(b, :x)") == And(
        (Comparison(">", Function("size", (A,)), X), Function("contains", (B, X)))
    )


def test_an_update_has_sections_in_any_order() -> None:
    update = parse_update("remove a, b[0] SET c = a + if_not_exists(b, :x)")
    assert [section.keyword for section in update.sections] == ["REMOVE", "SET"]
    assert update.sections[0].actions == (Remove(A), Remove(Path(("b", 0))))
    assert update.sections[1].actions == (
        Set(C, Arithmetic("+", A, Function("if_not_exists", (B, X)))),
    )


def test_projections_list_paths() -> None:
    assert parse_projection("a, #b.c[3] ,c").paths == (A, Path(("#b", "c", 3)), C)


@pytest.mark.parametrize(
    ("text", "token", "near"),
    [
        ("INVALID SYNTAX HERE", "INVALID", "INVALID SYNTAX"),
        ("whatever", "whatever", "whatever"),
        ("set", "<EOF>", "set"),
        ("set a", "<EOF>", "a"),
        ("add a", "<EOF>", "a"),
        ("set a=set", "set", "=set"),
        ("remove a = b", "=", "a = b"),
        ("delete a b", "b", "a b"),
        ("SET _123 = :v", "_", "SET _123"),
        ("SET numx = numx * :v", "*", "numx * :v"),
        ("set a = b / c", "/", "b / c"),
        ("set :a = b", ":a", "set :a ="),
        ("set a[:b] = c", ":b", "[:b]"),
        ("set a = b + c + d", "+", "c + d"),
        ("set (a) = b", "(", "set (a"),
        ("!!!", "!", "!!"),
    ],
)
def test_an_update_shows_the_token_that_does_not_fit(text: str, token: str, near: str) -> None:
    assert refusal("UpdateExpression", text) == f'Syntax error; token: "{token}", near: "{near}"'


@pytest.mark.parametrize(
    "text",
    [
        *("remove a, remove b", "set a = set b = c", "add abort b", "add a :b :c", "set #a b = :c"),
        *("set a = (b.c).d + e", "set a = b c", "set a = (b + c) + d", "set a = b[1.5]"),
        *("set a = list_append()", "set a = b +", "set a = #", "set a = b, ", "set a.b.1 = c"),
        *(
            "set a[01] = b",
            "set a[-1] = b",
            "remove",
            "delete a :b c :d",
            "set a == b",
            "set ü = b",
        ),
    ],
)
def test_an_update_that_does_not_fit_the_grammar_is_a_syntax_error(text: str) -> None:
    assert refusal("UpdateExpression", text).startswith("Syntax error; token: ")


@pytest.mark.parametrize(
    ("text", "token", "near"),
    [
        ("whatever", "<EOF>", "whatever"),
        ("attribute_not_exists(", "<EOF>", "("),
        ("a in b, c", "b", "in b,"),
        ("a > between", "between", "> between"),
        ("a = :x)", ")", ":x)"),
        ("((a = :x)", "<EOF>", ")"),
        ("a = :x b = :x", "b", ":x b ="),
        ("= :x", "=", "= :x"),
        ("a == :x", "=", "== :x"),
        ("ü > a", "ü", "ü >"),
        ("#$.b > a", "#", "#$"),
        ("b[:a] > a", ":a", "[:a]"),
        ("size(a).b > a", ".", ").b"),
        ("(size(a))[0] > a", "[", ")[0"),
    ],
)
def test_a_condition_shows_the_token_that_does_not_fit(text: str, token: str, near: str) -> None:
    expected = f'Syntax error; token: "{token}", near: "{near}"'
    assert refusal("FilterExpression", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("a in ()", "a in (b", "a between b", "a between b and", "a < b < c", "not", "and a = b"),
        *("a = b and", "a = b or or c = d", "a ! b", "a <> ", "a = 1", "a = 'x'", "a + b = c"),
        *("()", "a = ()", "contains(a b)", "contains(a, b,)", "(a) = (b", "a.(b) = c", "a.[0] = b"),
        *(
            "(a, b) in (c)",
            "size(a) size(b)",
            "(contains(a, b)) = ",
            "a = b not c = d",
            "a NOT IN (b)",
        ),
    ],
)
def test_a_condition_that_does_not_fit_the_grammar_is_a_syntax_error(text: str) -> None:
    assert refusal("ConditionExpression", text).startswith("Syntax error; token: ")


@pytest.mark.parametrize(
    ("text", "token", "near"),
    [
        ("a b", "b", "a b"),
        ("a,", "<EOF>", ","),
        (",a", ",", ",a"),
        ("a,,b", ",", ",,b"),
        ("(a)", "(", "(a"),
        (":a", ":a", ":a"),
        ("a[0][", "<EOF>", "["),
        ("size(a)", "(", "size(a"),
    ],
)
def test_a_projection_shows_the_token_that_does_not_fit(text: str, token: str, near: str) -> None:
    expected = f'Syntax error; token: "{token}", near: "{near}"'
    assert refusal("ProjectionExpression", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a=a and a > ((views))",
        "a > ((views)) and a > b",
        "a > b and ((a > b))",
        "((a=a)) or a=b",
        "(((a=a) or a=b))",
        "(a)between(((b.c)).d)and(c)",
        "a in ((b), ((c)))",
        "a > whatever((:things), ((a)))",
        "a=a AND ((a=a AND a=a)) AND a=a",
        "not ((a = b))",
        "((size(a))) > b",
    ],
)
def test_doubled_parentheses_are_redundant(text: str) -> None:
    assert refusal("FilterExpression", text) == "The expression has redundant parentheses;"


def test_doubled_parentheses_are_redundant_in_updates() -> None:
    text = "set a = ((b))"
    assert refusal("UpdateExpression", text) == "The expression has redundant parentheses;"


@pytest.mark.parametrize(
    "text", ["(a=b)", "(a=b) and (c=d)", "((a=b) and c=d)", "((a)=(b))", "(((a)=b) or (c=d))"]
)
def test_parentheses_around_different_things_are_fine(text: str) -> None:
    parse_condition("FilterExpression", text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("attRIbute_exIsts((views), #a)", "attRIbute_exIsts"),
        ("whatever(a) and abort > size(contains(a, b))", "whatever"),
        ("size(foo(a)) = bar(b)", "foo"),
    ],
)
def test_an_unknown_function_is_reported_before_all_but_the_syntax(text: str, name: str) -> None:
    assert refusal("FilterExpression", text) == f"Invalid function name; function: {name}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("size(contains(a, b)) > a", "contains"),
        ("size(things)", "size"),
        ("a in (b, attribute_exists(things))", "attribute_exists"),
        ("a between b and begins_with(a, c)", "begins_with"),
        ("attribute_type(a, :x) = :x", "attribute_type"),
        ("(attribute_exists(a)) = :x", "attribute_exists"),
        ("not size(abort)", "size"),
    ],
)
def test_a_function_where_it_does_not_belong_comes_before_reserved_words(
    text: str, name: str
) -> None:
    assert refusal("FilterExpression", text) == (
        f"The function is not allowed to be used this way in an expression; function: {name}"
    )


def test_functions_of_updates_are_not_for_conditions() -> None:
    assert refusal("ConditionExpression", "if_not_exists(a, b) = c") == (
        "The function is not allowed in a condition expression; function: if_not_exists"
    )


def test_functions_of_conditions_are_not_for_updates() -> None:
    assert refusal("UpdateExpression", "set a = size(b)") == (
        "The function is not allowed in an update expression; function: size"
    )


def test_list_append_does_not_nest() -> None:
    text = "set a = list_append(b, list_append(c, d))"
    assert refusal("UpdateExpression", text) == (
        "The function is not allowed to be used this way in an expression; function: list_append"
    )


@pytest.mark.parametrize(
    ("what", "text", "word"),
    [
        ("FilterExpression", "attribute_exists(views, #a)", "views"),
        ("FilterExpression", ":a < abOrT", "abOrT"),
        ("ConditionExpression", "a.b.Status[0] = :x", "Status"),
        ("UpdateExpression", " set #c = :c set abOrt = true ", "abOrt"),
        ("UpdateExpression", "set a = whatever(abort)", "abort"),
        ("ProjectionExpression", "a, b.name", "name"),
    ],
)
def test_reserved_words_are_refused_wherever_names_stand(what: str, text: str, word: str) -> None:
    assert refusal(what, text) == (
        f"Attribute name is a reserved keyword; reserved keyword: {word}"
    )


def test_there_are_573_reserved_words() -> None:
    assert len(RESERVED_WORDS) == 573
    assert all(word == word.upper() and word.isalpha() for word in RESERVED_WORDS)


@pytest.mark.parametrize(
    ("text", "keyword"),
    [("set a = #c set c = :d", "SET"), ("remove a add b :c Remove d", "REMOVE")],
)
def test_a_section_comes_once(text: str, keyword: str) -> None:
    assert refusal("UpdateExpression", text) == (
        f'The "{keyword}" section can only be used once in an update expression;'
    )


@pytest.mark.parametrize("what", ["FilterExpression", "UpdateExpression", "ProjectionExpression"])
@pytest.mark.parametrize("text", ["", " \t\n"])
def test_an_expression_is_not_empty(what: str, text: str) -> None:
    assert refusal(what, text) == "The expression can not be empty;"


@pytest.mark.parametrize("what", ["FilterExpression", "UpdateExpression", "ProjectionExpression"])
def test_an_expression_has_4096_bytes_at_most(what: str) -> None:
    assert refusal(what, "ü" * 2049) == (
        "Expression size has exceeded the maximum allowed size; expression size: 4098"
    )
    assert refusal(what, "!" * 4096).startswith("Syntax error")


def test_an_expression_has_300_operators_at_most() -> None:
    fine = " and ".join(["a=b"] * 150)  # 150 comparators and 149 times AND
    parse_condition("FilterExpression", f"{fine} and (a=b)"[: len(fine)])
    assert refusal("FilterExpression", f"not {fine} and a=b") == (
        "The expression contains too many operators; operator count: 301"
    )


def test_functions_count_as_operators_and_in_counts_once() -> None:
    assert refusal("FilterExpression", " or ".join(["size(a)in(b,c)"] * 101)) == (
        "The expression contains too many operators; operator count: 301"
    )
    parse_condition("FilterExpression", " or ".join(["size(a)in(b,c)"] * 100))


def test_indexes_of_lists_have_a_limit() -> None:
    parse_projection("a[2147483647]")
    assert refusal("ProjectionExpression", "a[2147483648]") == (
        "List index is not within the allowable range; index: [2147483648]"
    )


def test_no_nesting_that_fits_into_an_expression_is_too_deep_to_read() -> None:
    assert refusal("FilterExpression", "(" * 4096).startswith("Syntax error")
    assert refusal("FilterExpression", "size(" * 819).startswith("The expression contains too many")
    assert refusal("UpdateExpression", "set a = " + "(" * 4000) == (
        "The expression has redundant parentheses;"
    )
    nested = "(" * 80 + "a=b" + " and c=d)" * 80
    parse_condition("FilterExpression", nested)
