"""Printing expressions: what comes out is parsed to the same again."""

from antipodes.core.expressions.ast import (
    Action,
    And,
    Arithmetic,
    Between,
    Comparison,
    Condition,
    Constant,
    Function,
    In,
    Not,
    Operand,
    Or,
    Path,
    Projection,
    Remove,
    Set,
    Update,
    Value,
)


def print_condition(condition: Condition) -> str:
    """Print a condition with no more parentheses than it needs."""
    match condition:
        case Or(terms):
            return " OR ".join(_term(term, Or) for term in terms)
        case And(terms):
            return " AND ".join(_term(term, And, Or) for term in terms)
        case Not(term):
            return f"NOT {_term(term, And, Or)}"
        case Comparison(operator, left, right):
            return f"{print_operand(left)} {operator} {print_operand(right)}"
        case Between(operand, low, high):
            bounds = f"{print_operand(low)} AND {print_operand(high)}"
            return f"{print_operand(operand)} BETWEEN {bounds}"
        case In(operand, choices):
            return f"{print_operand(operand)} IN ({', '.join(map(print_operand, choices))})"
        case Function():
            return print_operand(condition)


def print_update(update: Update) -> str:
    """Print an update."""
    return " ".join(
        f"{section.keyword} {', '.join(map(_print_action, section.actions))}"
        for section in update.sections
    )


def print_projection(projection: Projection) -> str:
    """Print a projection."""
    return ", ".join(map(print_operand, projection.paths))


def print_operand(operand: Operand | Arithmetic) -> str:
    """Print an operand; one that is not bound."""
    match operand:
        case Path((head, *steps)):
            shown = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
            return f"{head}{''.join(shown)}"
        case Path():
            raise AssertionError("a path has a head")
        case Value(name):
            return name
        case Function(name, args):
            return f"{name}({', '.join(map(print_operand, args))})"
        case Arithmetic(operator, left, right):
            return f"{print_operand(left)} {operator} {print_operand(right)}"
        case Constant():
            raise AssertionError("a constant has no notation in expressions")


def _term(term: Condition, *enclosed: type[Condition]) -> str:
    printed = print_condition(term)
    return f"({printed})" if isinstance(term, enclosed) else printed


def _print_action(action: Action) -> str:
    path = print_operand(action.path)
    match action:
        case Remove():
            return path
        case Set(_, value):
            return f"{path} = {print_operand(value)}"
        case _:
            return f"{path} {print_operand(action.value)}"
