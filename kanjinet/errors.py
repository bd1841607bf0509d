"""The one exception that a user is meant to read."""

import reprlib

MAX_VALUE_CHARACTERS = 80


class KanjinetError(Exception):
    """Reports something that a user can put right.

    Attributes:
        problem: what is wrong, with the file and the value.
        remedy: what to do about it; empty where nothing but the problem can be said.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}: {remedy}" if remedy else problem)
        self.problem, self.remedy = problem, remedy


def brief(value: object) -> str:
    """Shortens a value's `repr` for a message, for a small file can hold one without end."""
    text = reprlib.repr(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 3] + "..."
