"""Jinja extension which refuses answers that cannot become a project, before a file is written.

Cookiecutter has a hook for that, `pre_gen_project`: a Python process of its own, which takes longer
than all the rest that this template does, and whose refusal cookiecutter ends with a traceback.
An extension is run by cookiecutter itself, which prints the refusal as it prints its own errors.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import unicodedata
from typing import Any

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

FOLDER = "{{ cookiecutter.project_slug }}"  # the first thing to be rendered when all is answered
CHECKED_FOLDER = "{{ cookiecutter.project_slug | checked(cookiecutter) }}"

LONGEST_SLUG = 60
LONGEST_NAMES = {"project_name": 100, "author_name": 200}
CHOICES = {
    "language": ["en", "pt-BR"],
    "license": ["MIT", "BSD-3-Clause", "Apache-2.0", "none"],
    "lessons": ["no", "yes"],
}
MESSAGES = {
    "en": {
        "refused": "No project was made, because of these answers:",
        "blank": "a name is needed",
        "long": "at most {} characters are allowed",
        "control": "any text is allowed, except control characters and broken Unicode",
        "slug": (
            "only lower-case letters a-z, digits and single hyphens between them are allowed,\n"
            f"    a letter first, at most {LONGEST_SLUG} characters; for example: iris-project"
        ),
        "reserved": (
            "this name belongs to Windows or to a package that the project uses;\n"
            "    any other is allowed, for example: my-{}"
        ),
        "choice": "allowed are: {}",
        "again": "To answer again, with your other answers kept:",
    },
    "pt-BR": {
        "refused": "Nenhum projeto foi criado, por causa destas respostas:",
        "blank": "é preciso um nome",
        "long": "são permitidos no máximo {} caracteres",
        "control": "qualquer texto é permitido, exceto caracteres de controle e Unicode inválido",
        "slug": (
            "só são permitidas letras minúsculas a-z, dígitos e hífens simples entre eles,\n"
            f"    começando por letra, no máximo {LONGEST_SLUG} caracteres; "
            "por exemplo: iris-project"
        ),
        "reserved": (
            "este nome pertence ao Windows ou a um pacote que o projeto usa;\n"
            "    qualquer outro é permitido, por exemplo: meu-{}"
        ),
        "choice": "são permitidos: {}",
        "again": "Para responder de novo, mantendo as outras respostas:",
    },
}


class CheckedAnswers(Extension):
    """Check all answers when the name of the project's folder is rendered."""

    priority = 200  # after LiteralAnswers, which would take the filter for an answer

    def __init__(self, environment: Environment) -> None:
        """Offer the filter that checks."""
        super().__init__(environment)
        environment.filters["checked"] = checked

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return the source that Jinja compiles in place of `source`."""
        return CHECKED_FOLDER if source == FOLDER else source


def checked(slug: object, answers: dict[str, Any]) -> str:
    """Return the name of the folder if the answers are good.

    Raises:
        FailedHookException: With what is wrong, and a command to answer again.
    """
    messages = MESSAGES.get(str(answers.get("language")), MESSAGES["en"])
    refused = find_faults(answers, messages)
    if not refused:
        return str(slug)
    lines = [messages["refused"]]
    lines += [f"  {name} {shown(answers[name])}\n    {why}" for name, why in refused.items()]
    lines += [messages["again"], f"  {command_to_answer_again(answers, refused)}"]
    # A console that lacks a letter shows its number.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = "\n\n".join(lines).encode(encoding, "backslashreplace").decode(encoding)
    raise FailedHookException(f"\n{text}\n")


def find_faults(answers: dict[str, Any], messages: dict[str, str]) -> dict[str, str]:
    """Return what is wrong with each bad answer, by the name of its question."""
    faults = {}
    for name, longest in LONGEST_NAMES.items():
        fault = fault_of_name(answers.get(name), longest)
        if fault:
            faults[name] = messages[fault].format(longest)
    slug = str(answers["project_slug"])
    if len(slug) > LONGEST_SLUG or not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        faults["project_slug"] = messages["slug"]
    elif slug in answers["_reserved_names"]:
        faults["project_slug"] = messages["reserved"].format(slug)
    for name, choices in CHOICES.items():
        if answers[name] not in choices:  # possible with an edited replay file
            faults[name] = messages["choice"].format(", ".join(choices))
    return faults


def fault_of_name(answer: object, longest: int) -> str | None:
    """Return what is wrong with a name that people write, as a key of `MESSAGES`."""
    name = "" if answer is None else on_one_line(answer)
    if not name:
        return "blank"
    if len(name) > longest:
        return "long"
    # None of these may stand in a TOML or YAML file.
    if any(unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" for c in name):
        return "control"
    return None


def command_to_answer_again(answers: dict[str, Any], refused: dict[str, str]) -> str:
    """Return a command that asks again, with the good answers as the defaults."""
    kept = {
        name: on_one_line(answer)
        for name, answer in answers.items()
        if not name.startswith("_") and name not in refused
    }
    template = str(answers.get("_template", "."))
    if "_commit" in answers:  # only cruft sets it
        words = ["cruft", "create", template, "--extra-context", json.dumps(kept)]
    else:
        words = ["cookiecutter", template]
        if answers.get("_checkout"):
            words += ["--checkout", answers["_checkout"]]
        if answers.get("_output_dir") not in (None, os.environ.get("PWD")):
            words += ["--output-dir", answers["_output_dir"]]
        words += [f"{name}={answer}" for name, answer in kept.items()]
    return " ".join(quoted(word) for word in words)


def quoted(word: str) -> str:
    """Quote `word` for this system's shell (on Windows for cmd and PowerShell, if both can)."""
    if os.name != "nt":
        return shlex.quote(word)
    if re.fullmatch(r"[\w./\\:=+-]+", word):
        return word
    if not re.search(r'["$`%]|\\$', word):
        return f'"{word}"'
    return "'" + word.replace("'", "''").replace('"', '\\"') + "'"


def on_one_line(answer: object) -> str:
    """Return `answer` with every run of white space as one space."""
    return " ".join(str(answer).split())


def shown(answer: object, width: int = 60) -> str:
    """Return `answer` in quotes, cut where it is long, with nothing invisible in it."""
    text = str(answer)
    return repr(text if len(text) <= width else text[:width] + "…")
