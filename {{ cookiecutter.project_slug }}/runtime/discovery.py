"""Finds the flows: each `@flow` in a file of `flows/`, by its source, without importing it.

So the command line knows the flows and their parameters at once, and a mistyped parameter need not
wait for Prefect, pandas and scikit-learn.
"""

import ast
import builtins
from dataclasses import dataclass
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from runtime import settings

if TYPE_CHECKING:
    from prefect import Flow


@dataclass(frozen=True)
class FlowSource:
    """A flow as its file defines it."""

    name: str
    file: Path
    source: ast.FunctionDef | ast.AsyncFunctionDef | SyntaxError

    def definition(self) -> ast.FunctionDef | ast.AsyncFunctionDef:
        """Return the flow's function; raise the `SyntaxError` of a file that has one."""
        if isinstance(self.source, SyntaxError):
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
            return self._parameters_by_source()
        except (NameError, AttributeError, ValueError):  # a type from elsewhere, a computed default
            function = self.load().fn
            hints = get_type_hints(function, include_extras=True)
            return {
                name: (
                    hints.get(name, Any),
                    ... if known.default is Parameter.empty else known.default,
                )
                for name, known in signature(function).parameters.items()
            }

    def _parameters_by_source(self) -> dict[str, tuple[Any, Any]]:
        names = {**vars(builtins), **vars(import_module("flows.parameters"))}
        arguments = self.definition().args
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
        pairs = [*zip(positional, defaults, strict=True)]
        pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        parameters = {}
        for argument, default in pairs:
            source = ast.unparse(argument.annotation) if argument.annotation else "Any"
            kind = eval(source, names)  # noqa: S307  (the project's own source)
            parameters[argument.arg] = (kind, ast.literal_eval(default) if default else ...)
        return parameters


def find_flows() -> dict[str, FlowSource]:
    """Return all flows of the project by their names, `main-flow` first.

    A file with a syntax error counts as one flow, which is named after it.
    """
    flows: dict[str, FlowSource] = {}
    for file in sorted((settings.ROOT / "flows").glob("*.py")):
        try:
            tree = ast.parse(file.read_text(encoding="utf-8-sig"), file)
        except (SyntaxError, ValueError) as error:
            if not isinstance(error, SyntaxError):  # bytes that are no text
                error = SyntaxError(str(error), (str(file), None, None, None))
            named_after = file.stem.replace("_", "-")
            flows[named_after] = FlowSource(named_after, file, error)
            continue
        for definition in tree.body:
            if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in definition.decorator_list:
                    if name := _flow_name(decorator, definition.name):
                        flows[name] = FlowSource(name, file, definition)
    return dict(sorted(flows.items(), key=lambda item: item[0] != "main-flow"))


def _flow_name(decorator: ast.expr, function: str) -> str | None:
    """Return the name of the flow that a decorator makes, None where it makes none."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if getattr(called, "id", getattr(called, "attr", None)) != "flow":
        return None
    for keyword in decorator.keywords if isinstance(decorator, ast.Call) else []:
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return function.replace("_", "-")
