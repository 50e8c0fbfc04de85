"""Jinja extension that refuses answers which cannot become a project, before a file is written.

`cookiecutter.json` calls it in `__check`, after the last answer that is typed. Cookiecutter prints
the refusal like its own errors. A `pre_gen_project` hook would come after all questions, and
cookiecutter prints a traceback when it fails.
"""

from __future__ import annotations

import re
import sys
import unicodedata

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment, TemplateSyntaxError
from jinja2.ext import Extension
from slugify import slugify

MAX_LENGTHS = {"project_name": 100, "author_name": 200}
MAX_SLUG_LENGTH = 60
WINDOWS_DEVICES = {"aux", "con", "nul", "prn"}
WINDOWS_DEVICES |= {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}

MESSAGES = {
    "en": {
        "refused": "No project was generated, because of these answers:",
        "blank": "a name is needed",
        "long": "at most {} characters are allowed",
        "control": "any text is allowed, except control characters and invalid Unicode",
        "slug": (
            "only lower-case letters a-z, digits and single hyphens between them are allowed,\n"
            f"    at most {MAX_SLUG_LENGTH} characters; for example: iris-project"
        ),
        "reserved": "Windows reserves this name; any other is allowed, for example: my-{}",
    },
    "pt-BR": {
        "refused": "Nenhum projeto foi gerado, por causa destas respostas:",
        "blank": "é preciso um nome",
        "long": "são permitidos no máximo {} caracteres",
        "control": "qualquer texto é permitido, exceto caracteres de controle e Unicode inválido",
        "slug": (
            "só são permitidas letras minúsculas a-z, dígitos e hífens simples entre eles,\n"
            f"    no máximo {MAX_SLUG_LENGTH} caracteres; por exemplo: iris-project"
        ),
        "reserved": (
            "o Windows reserva este nome; qualquer outro é permitido, por exemplo: meu-{}"
        ),
    },
}


class AnswerCheck(Extension):
    """Adds two filters, and reports syntax errors of Jinja in one sentence."""

    def __init__(self, environment: Environment) -> None:
        """Add the filters."""
        super().__init__(environment)
        environment.filters["check_answers"] = check_answers
        environment.filters["folder_name"] = folder_name

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return `source` as it is, if Jinja can parse it.

        Cookiecutter renders the answers given on the command line, and prints a traceback for
        one such as `project_name="50 {% off"`.

        Raises:
            FailedHookException: With the error of the parser in a sentence.
        """
        if name is None and "{" in source:  # no file, and no plain text
            parser = self.environment.overlay()
            del parser.extensions[self.identifier]  # it would call this method again
            try:
                parser.parse(source)
            except TemplateSyntaxError as error:
                raise FailedHookException(
                    f"{quote(source)} can be typed at the prompt, but not given on the command "
                    f"line, where Jinja renders it: {error.message}"
                ) from None
        return source


def folder_name(project_name: str) -> str:
    """Return the proposed name of a project's folder: lower-case letters, digits and hyphens."""
    slug = slugify(project_name, max_length=50) or "project"
    return f"{slug}-project" if slug in WINDOWS_DEVICES else slug


def check_answers(answers: dict[str, str]) -> str:
    """Return "passed" if the answers can become a project.

    Raises:
        FailedHookException: With a sentence for each answer that cannot.
    """
    messages = MESSAGES[answers["language"]]
    faults = find_faults(answers, messages)
    if faults:
        paragraphs = [messages["refused"]]
        paragraphs += [
            f"  {name} {quote(answers[name])}\n    {why}" for name, why in faults.items()
        ]
        text = "\n\n".join(paragraphs)
        # Escape what the console cannot print.
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        raise FailedHookException(f"\n{text}\n")
    return "passed"


def find_faults(answers: dict[str, str], messages: dict[str, str]) -> dict[str, str]:
    """Return a sentence for each answer that is not allowed, by the name of its question."""
    faults = {}
    for question, max_length in MAX_LENGTHS.items():
        name = " ".join(answers[question].split())
        if not name:
            faults[question] = messages["blank"]
        elif len(name) > max_length:
            faults[question] = messages["long"].format(max_length)
        # TOML and YAML do not allow these.
        elif any(unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" for c in name):
            faults[question] = messages["control"]
    slug = answers["project_slug"]
    if len(slug) > MAX_SLUG_LENGTH or not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", slug):
        faults["project_slug"] = messages["slug"]
    elif slug in WINDOWS_DEVICES:
        faults["project_slug"] = messages["reserved"].format(slug)
    return faults


def quote(answer: str, width: int = 60) -> str:
    """Return an answer in quotes: shortened, and with escapes for unprintable characters."""
    return repr(answer if len(answer) <= width else answer[:width] + "…")
