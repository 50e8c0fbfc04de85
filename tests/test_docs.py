"""The documentation: both languages say the same, links lead somewhere, and commands exist."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from conftest import PROJECT_FOLDER, Bake
from markdown_it import MarkdownIt
from markdown_it.token import Token
from post_gen_project import TRANSLATED_FILES
from template_copy import REPO

PROJECT = REPO / PROJECT_FOLDER
TRANSLATED_PAGES = [name for name in TRANSLATED_FILES if name.endswith(".md")]
PAIRS = [
    "README.md",
    *(f"{PROJECT_FOLDER}/{name}" for name in TRANSLATED_PAGES),
    "docs/article.md",
    "docs/capstone.md",
    "docs/cloud.md",
    "docs/dashboard.md",
    "docs/teaching.md",
]
PAGES = sorted(
    path.relative_to(REPO).as_posix()
    for folder in (REPO, REPO / "docs", PROJECT, PROJECT / "docs", PROJECT / "runtime")
    for path in folder.glob("*.md")
)
ROWS_OF_THE_MAP = range(1, 15)


def translation(page: str) -> str:
    """Return the name of the Portuguese page."""
    return page.removesuffix(".md") + ".pt-BR.md"


def tokens(page: str) -> list[Token]:
    """Return a page's blocks, and what is in their lines, in reading order."""
    text = (REPO / page).read_text(encoding="utf-8")
    blocks = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    return [token for block in blocks for token in (block, *(block.children or []))]


def headings(page: str) -> list[str]:
    """Return the level of each heading: h1, h2 and so on."""
    return [token.tag for token in tokens(page) if token.type == "heading_open"]


def rows(page: str) -> int:
    """Return how many rows all tables have."""
    return sum(token.type == "tr_open" for token in tokens(page))


def code_blocks(page: str) -> list[tuple[str, list[str]]]:
    """Return language and lines of each code block; comments and shown output are left out."""
    found = []
    for token in tokens(page):
        if token.type == "fence":
            lines = [re.sub(r"(^|\s+)#.*", "", line) for line in token.content.splitlines()]
            found.append((token.info, [] if token.info == "text" else list(filter(None, lines))))
    return found


def inline_code(page: str) -> set[str]:
    """Return each piece of code within a sentence or a table."""
    return {token.content for token in tokens(page) if token.type == "code_inline"}


def targets(page: str) -> list[str]:
    """Return where the links lead and where the pictures are."""
    links = [token.attrs.get("href") or token.attrs.get("src") for token in tokens(page)]
    return [str(link) for link in links if link]


def codes(page: str) -> Iterator[str]:
    """Yield each piece of code within a sentence, and each line of a code block."""
    for token in tokens(page):
        if token.type == "code_inline":
            yield token.content
        elif token.type == "fence":
            yield from token.content.splitlines()


def commands(page: str) -> list[list[str]]:
    """Return the arguments of each shown command `python main.py ...`."""
    lines = [re.search(r"(?:\bpython|\buv run) main\.py\b(.*)", code) for code in codes(page)]
    arguments = [shlex.split(line[1], comments=True) for line in lines if line]
    return [[one for one in given if one not in ("COMMAND", "--help")] for given in arguments]


def dead_links(page: str) -> list[str]:
    """Return the relative links and pictures of a page that lead nowhere."""
    paths = [unquote(link.partition("#")[0]) for link in targets(page) if ":" not in link]
    return [path for path in paths if not Path(REPO / page).parent.joinpath(path).exists()]


def names_of_tests() -> set[str]:
    """Return the names of the tests of the flows and the runtime."""
    sources = [path.read_text(encoding="utf-8") for path in REPO.glob("tests/project/test_*.py")]
    return {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.M)}


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module of the commands, which imports nothing heavy before one runs."""
    monkeypatch.syspath_prepend(PROJECT)
    return importlib.import_module("runtime.cli")


def test_each_translation_is_of_a_page_and_compared_with_it() -> None:
    assert {page for page in PAGES if ".pt-BR." in page} == set(map(translation, PAIRS))


def test_each_page_of_the_project_is_translated() -> None:
    pages = {path.name for path in PROJECT.glob("docs/*.md") if ".pt-BR." not in path.name}
    assert {"README.md", *(f"docs/{name}" for name in pages)} == set(TRANSLATED_PAGES)


@pytest.mark.parametrize("page", PAIRS)
def test_both_languages_have_the_same_headings_and_tables(page: str) -> None:
    assert headings(translation(page)) == headings(page)
    assert rows(translation(page)) == rows(page)


@pytest.mark.parametrize("page", PAIRS)
def test_both_languages_show_the_same_code(page: str) -> None:
    assert code_blocks(translation(page)) == code_blocks(page)
    assert inline_code(translation(page)) == inline_code(page)


@pytest.mark.parametrize("page", PAIRS)
def test_both_languages_link_to_the_same(page: str) -> None:
    one, other = (
        [link.replace(".pt-BR.md", ".md") for link in targets(name)]
        for name in (page, translation(page))
    )
    assert sorted(one) == sorted(other)


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_and_pictures_exist(page: str) -> None:
    assert not dead_links(page)


@pytest.mark.parametrize("language", ["en", "pt-BR"])
def test_a_project_has_the_pages_of_its_language_with_links_that_work(
    bake: Bake, language: str
) -> None:
    project = bake(language=language)
    assert {name for name in project.names() if name.endswith(".md")} == {
        *TRANSLATED_PAGES,
        "runtime/README.md",
    }
    for name in TRANSLATED_PAGES:
        assert not dead_links(str(project.path / name)), name
        source = f"{PROJECT_FOLDER}/{name}"
        source = translation(source) if language == "pt-BR" else source
        if name != "README.md":  # which is rendered
            text = (REPO / source).read_text(encoding="utf-8")
            assert project.text(name) == text.replace(PROJECT_FOLDER, project.path.name)


@pytest.mark.parametrize("page", PAGES)
def test_each_shown_command_is_one_that_main_py_takes(page: str, program: Any) -> None:
    parameters = importlib.import_module("runtime.parameters")
    flows = importlib.import_module("runtime.discovery").find_flows()
    written_here = {name for code in codes(page) for name in re.findall(r'name="(.+?)"', code)}
    for arguments in commands(page):
        if written_here.intersection(arguments):
            continue  # a flow that the page shows how to write
        command, bound, _ = program.app.parse_args(
            arguments, exit_on_error=False, print_error=False
        )
        if command is program.run:
            given = {"flow": "main-flow", "param": [], "param_file": None, **bound.arguments}
            file = PROJECT / given["param_file"] if given["param_file"] else None
            parameters.read_parameters(flows[given["flow"]], given["param"], file)


def test_commands_are_found_at_all() -> None:
    assert ["lessons"] in commands(f"{PROJECT_FOLDER}/README.md")
    for page in ("README.md", f"{PROJECT_FOLDER}/README.md", "docs/article.md"):
        shown = commands(page)
        assert ["visualize", "data-engineer"] in shown or ["visualize"] in shown, page
        assert ["serve", "--every", "60"] in shown, page


def test_a_command_that_does_not_exist_is_noticed(program: Any) -> None:
    cyclopts = importlib.import_module("cyclopts")
    for wrong in (["trian"], ["run", "--parm", "C=1"], ["serve", "--every"]):
        with pytest.raises(cyclopts.CycloptsError):
            program.app.parse_args(wrong, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", ["docs/article.md", translation("docs/article.md")])
def test_each_row_of_the_articles_map_has_a_test_that_exists(page: str) -> None:
    named = [code for code in codes(page) if re.fullmatch(r"test_rows?_\w+", code)]
    assert set(named) <= names_of_tests()
    for row, name in zip(ROWS_OF_THE_MAP, named, strict=True):
        assert f"_{row:02}_" in name, "`pytest -k` finds it by this"
