"""Finds the flows: each `@flow` in a file of `flows/`, by its source, without importing it.

So the command line knows the flows and their parameters at once, and a mistyped parameter need not
wait for Prefect, pandas and scikit-learn.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from runtime import settings
from runtime.errors import UserError

if TYPE_CHECKING:
    from prefect import Flow


Definition = ast.FunctionDef | ast.AsyncFunctionDef
Source = Definition | Exception  # the error of a flow that cannot be used


@dataclass(frozen=True)
class FlowSource:
    """A flow as its file defines it."""

    name: str
    file: Path
    source: Source

    def definition(self) -> Definition:
        """Return the flow's function.

        Raises the `SyntaxError` of a file that has one, `UserError` where two have the same name.
        """
        if isinstance(self.source, Exception):
            raise self.source
        return self.source

    @property
    def entrypoint(self) -> str:
        """The file and the function, as prefect.yaml names them."""
        return f"flows/{self.file.name}:{self.definition().name}"

    def load(self) -> "Flow[..., Any]":
        """Import the flow; raise `UserError` where Prefect's settings cannot be read."""
        from runtime.server.surroundings import import_prefect

        name = self.definition().name
        import_prefect()
        flow: Flow[..., Any] = getattr(import_module(f"flows.{self.file.stem}"), name)
        return flow

    def parameters(self) -> dict[str, tuple[Any, Any]]:
        """Return type and default of each parameter by its name; `...` stands for no default."""
        try:
            function = self._header()
        except (NameError, AttributeError):  # a type or a default from elsewhere
            function = self.load().fn
        hints = get_type_hints(function, include_extras=True)
        return {
            name: (hints.get(name, Any), ... if known.default is Parameter.empty else known.default)
            for name, known in signature(function).parameters.items()
        }

    def _header(self) -> Any:
        """Return a function with the flow's parameters and no body, which needs no import."""
        names = dict(vars(import_module("flows.parameters")))
        source = f"def header({ast.unparse(self.definition().args)}): ..."
        exec(source, names)  # noqa: S102  (the project's own source)
        return names["header"]


def find_flows() -> dict[str, FlowSource]:
    """Return all flows of the project by their names, `main-flow` first.

    A file with a syntax error counts as one flow, which is named after it.
    """
    flows: dict[str, FlowSource] = {}
    for file in sorted((settings.ROOT / "flows").glob("*.py")):
        for name, source in _flows_of(file):
            if name in flows and not isinstance(source, Exception):
                files = f"flows/{flows[name].file.name} and flows/{file.name}"
                source = UserError(f"{files} both have a flow {name!r}: rename one.")
            flows[name] = FlowSource(name, file, source)
    return dict(sorted(flows.items(), key=lambda item: item[0] != "main-flow"))


def _flows_of(file: Path) -> Iterator[tuple[str, Source]]:
    """Yield the name and the function of each flow in a file, or the error of the file."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8-sig"), file)
    except (SyntaxError, ValueError) as error:
        if not isinstance(error, SyntaxError):  # bytes that are no text
            error = SyntaxError(str(error), (str(file), None, None, None))
        yield file.stem.replace("_", "-"), error
        return
    for definition in tree.body:
        if isinstance(definition, Definition):
            for decorator in definition.decorator_list:
                if name := _flow_name(decorator, definition.name):
                    yield name, definition


def _flow_name(decorator: ast.expr, function: str) -> str | None:
    """Return the name of the flow that a decorator makes, None where it makes none."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if getattr(called, "id", getattr(called, "attr", None)) != "flow":
        return None
    for keyword in decorator.keywords if isinstance(decorator, ast.Call) else []:
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return function.replace("_", "-")
