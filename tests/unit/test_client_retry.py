"""What is repeated and what is not."""

from collections.abc import Awaitable, Callable

import pytest

from antipodes.client import retry
from antipodes.client.retry import Repeat, may_repeat, repeat_call
from antipodes.core import errors
from antipodes.core.errors import (
    AntipodesError,
    InternalServerError,
    RequestTimeout,
    ServiceUnavailable,
    ValidationException,
)

NEVER = float("inf")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "WAIT", lambda _state: 0)


@pytest.mark.parametrize("repeat", Repeat)
def test_what_was_refused_before_it_began_may_be_repeated(repeat: Repeat) -> None:
    assert may_repeat(ServiceUnavailable(), repeat)


@pytest.mark.parametrize("error", [InternalServerError(), RequestTimeout()])
def test_an_unknown_outcome_may_be_repeated_where_that_changes_nothing(
    error: AntipodesError,
) -> None:
    assert may_repeat(error, Repeat.READ)
    assert may_repeat(error, Repeat.WRITE)
    assert not may_repeat(error, Repeat.ONCE)


@pytest.mark.parametrize("kind", [k for k in errors.BY_CODE.values() if not k.retryable])
@pytest.mark.parametrize("repeat", Repeat)
def test_what_was_rejected_is_never_repeated(kind: type[AntipodesError], repeat: Repeat) -> None:
    assert not may_repeat(kind(), repeat)


def script(*outcomes: AntipodesError | str) -> tuple[Callable[[], Awaitable[str]], list[None]]:
    made: list[None] = []

    async def attempt() -> str:
        outcome = outcomes[len(made)]
        made.append(None)
        if isinstance(outcome, AntipodesError):
            raise outcome
        return outcome

    return attempt, made


async def run(
    attempt: Callable[[], Awaitable[str]],
    first: AntipodesError,
    repeat: Repeat = Repeat.WRITE,
    attempts_max: int = 4,
    deadline: float = NEVER,
) -> str:
    return await repeat_call(
        attempt, first, repeat, attempts_max=attempts_max, deadline=deadline, clock=lambda: 0.0
    )


async def test_attempts_go_on_until_one_succeeds() -> None:
    attempt, made = script(ServiceUnavailable(), "done")
    assert await run(attempt, ServiceUnavailable()) == "done"
    assert len(made) == 2


async def test_the_first_attempt_counts() -> None:
    attempt, made = script(ServiceUnavailable("2"), ServiceUnavailable("3"))
    with pytest.raises(ServiceUnavailable, match="3"):
        await run(attempt, ServiceUnavailable("1"), attempts_max=3)
    assert len(made) == 2


async def test_no_attempt_begins_after_the_deadline() -> None:
    attempt, made = script("done")
    with pytest.raises(ServiceUnavailable):
        await run(attempt, ServiceUnavailable(), deadline=0.0)
    assert not made


async def test_a_rejection_ends_the_attempts() -> None:
    attempt, made = script(ValidationException("no"), "done")
    with pytest.raises(ValidationException):
        await run(attempt, ServiceUnavailable())
    assert len(made) == 1


async def test_an_unknown_outcome_ends_the_attempts_of_what_must_happen_once() -> None:
    attempt, made = script(InternalServerError(), "done")
    with pytest.raises(InternalServerError):
        await run(attempt, ServiceUnavailable(), Repeat.ONCE)
    assert len(made) == 1


async def test_the_last_error_does_not_hide_that_an_earlier_attempt_may_have_been_applied() -> None:
    attempt, _ = script(ServiceUnavailable("gone"))
    with pytest.raises(InternalServerError, match="gone; an earlier attempt may have been"):
        await run(attempt, InternalServerError("broke"), attempts_max=2)


async def test_a_read_keeps_the_last_error() -> None:
    attempt, _ = script(ServiceUnavailable("gone"))
    with pytest.raises(ServiceUnavailable, match=r"^gone$"):
        await run(attempt, InternalServerError("broke"), Repeat.READ, attempts_max=2)
