"""The rooms of a generated project: who may use whom, and the interface that flows use."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import PROJECT_FOLDER

PROJECT = Path(__file__).parents[1] / PROJECT_FOLDER
ROOMS = {
    "flows": {"flows", "ml", "runtime"},
    "ml": {"ml"},
    "runtime": {"runtime"},
}
# The one place that predicts.
EXCEPTIONS = {("runtime.cli", "ml.data"), ("runtime.cli", "ml.model")}
NOT_IN_ML = {"prefect", "pathlib", "os", "runtime", "flows"}
MODULES = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in ROOMS
    for path in sorted((PROJECT / room).rglob("*.py"))
}


def imports(module: str) -> set[str]:
    """Return the modules of the project that a module imports, at its top or within a function.

    What is imported for the type checker only does not count.
    """
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def interface() -> dict[str, str]:
    """Return the module of each name that the runtime offers to the flows."""
    tree = ast.parse(MODULES["runtime"].read_text(encoding="utf-8"))
    [table] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODULES"
    ]
    modules: dict[str, str] = table
    return modules


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_one_way(module: str) -> None:
    room = module.partition(".")[0]
    used = {name for name in imports(module) if name in MODULES or name in ROOMS}
    foreign = {
        name
        for name in used
        if name.partition(".")[0] not in ROOMS[room] and (module, name) not in EXCEPTIONS
    }
    assert not foreign
    if room == "ml" and module != "ml.data":
        assert not {name.partition(".")[0] for name in imports(module)} & NOT_IN_ML


def test_there_is_no_cycle() -> None:
    uses = {module: imports(module) & MODULES.keys() - {module} for module in MODULES}
    while done := [module for module, used in uses.items() if not used]:
        for module in done:
            del uses[module]
        for used in uses.values():
            used.difference_update(done)
    assert not uses, f"these import one another: {uses}"


def test_flows_use_ten_names_of_the_runtime_at_most() -> None:
    table = interface()
    assert len(table) <= 10
    for module in MODULES:
        if module.startswith("flows."):
            from_runtime = {name for name in imports(module) if name.startswith("runtime.")}
            assert from_runtime <= {f"runtime.{name}" for name in table}, module


def test_each_name_of_the_interface_has_a_docstring() -> None:
    for name, module in interface().items():
        source = ast.parse(MODULES[f"runtime.{module}"].read_text(encoding="utf-8"))
        [definition] = [
            node
            for node in source.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
        ]
        assert ast.get_docstring(definition)
