"""Jinja extension which keeps every answer plain text, whatever is written in it.

Cookiecutter does not render what is typed at a prompt, nor what `--replay` reads. It does render
an answer given on the command line, in a user's `default_context`, or kept in `.cruft.json`:
there `{{ 7 * 7 }}` would become 49, and worse could be run. With this extension Jinja runs only
what the template itself wrote: the texts of `cookiecutter.json`, the hooks and the files of the
template's folder. Any other text comes out as it went in. (An answer which repeats one of these
texts to the letter is rendered like it, and so does nothing which the template does not do.)

What stays cookiecutter's own: it reads `~/.cookiecutterrc` and replay files, where a person may
overwrite the template's private `_…` variables. Those are settings, not answers.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from jinja2 import Environment
from jinja2.ext import Extension


class LiteralAnswers(Extension):
    """Render the template's own texts; take every other text literally."""

    def __init__(self, environment: Environment) -> None:
        """Read the template's texts, so that they can be told from answers."""
        super().__init__(environment)
        self.own_texts = own_texts()

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Return the source that Jinja compiles in place of `source`.

        Args:
            source: What cookiecutter wants to render.
            name: The template's file, or None for a text from elsewhere.
            filename: Not used.
        """
        if name is not None or source in self.own_texts or not re.search(r"{[{%#]", source):
            return source
        escaped = source.encode("unicode-escape").decode("ascii").replace('"', r"\x22")
        return f'{{{{ "{escaped}" }}}}'


def own_texts() -> set[str]:
    """Return the texts, other than files, which the template gives cookiecutter to render.

    The template in use is on `sys.path`, and while a hook runs it is the current folder (a path
    as relative as `./template` is then of no use). `__file__` alone would not do: it belongs to
    the first copy when one process renders two, as `cruft update` does.
    """
    texts: set[str] = set()
    for repo in {Path.cwd(), *map(Path, sys.path)}:
        if (repo / Path(__file__).name).is_file():
            questions = json.loads((repo / "cookiecutter.json").read_text(encoding="utf-8"))
            texts.update(text for text in questions.values() if isinstance(text, str))
            texts.update(hook.read_text(encoding="utf-8") for hook in repo.glob("hooks/*.py"))
            texts.update(folder.name for folder in repo.glob("{{*}}"))
    return texts
