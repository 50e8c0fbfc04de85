"""Errors whose text is for the user: one sentence with what is wrong, where, and what to do.

Any exception with an `exit_code` counts as one: the command line shows its text, without a
traceback, and ends with that code. So does `ml.data.BadData`, which does not know this folder.
"""

import re


class UserError(Exception):
    """An error that the user can correct."""

    exit_code = 2


class CannotWrite(UserError):
    """An output cannot be written, for lack of room or rights: the run has failed."""

    exit_code = 1


class Unavailable(UserError):
    """A server, bucket or cluster cannot be used, though nothing given to the run is wrong."""

    exit_code = 1


def is_for_user(error: BaseException | None) -> bool:
    """Return whether the text of an error says all that the user needs."""
    return hasattr(error, "exit_code")


def without_password(text: str) -> str:
    """Return a text with the user name and password removed from each address."""
    return re.sub(r"://[^/\s]*@", "://…@", text)


def printable(text: str, longest: int = 200) -> str:
    """Return a text from outside in a form that is safe in a message.

    Passwords are removed, a long text is cut, and unprintable characters are replaced.
    """
    text = without_password(text)
    text = text if len(text) <= longest else f"{text[:longest]}…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
