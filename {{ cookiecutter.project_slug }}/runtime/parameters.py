"""Reads the parameters of a flow from the command line and from a JSON file, and checks them."""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from runtime.discovery import FlowSource
from runtime.errors import UserError, printable

LARGEST_PARAM_FILE_BYTES = 10**6


def read_parameters(flow: FlowSource, params: list[str], param_file: Path | None) -> dict[str, Any]:
    """Merge `--param-file` and `--param name=value` (which wins), and check them for one flow.

    Returns only what was given: the defaults stay with the flow. Raises `UserError` with one
    sentence for a file that cannot be read, an unknown name, or a value that is not allowed.
    """
    given = _read_param_file(param_file) if param_file else {}
    for param in params:
        name, equals, text = (part.strip() for part in param.partition("="))
        if not equals:
            raise UserError(f"--param {printable(repr(param))} has no '=': write it as name=value.")
        name, dot, key = name.partition(".")
        if dot:  # one entry of a parameter that holds several
            entries = given.get(name)
            given[name] = {**(entries if isinstance(entries, dict) else {}), key: _value(text)}
        else:
            # pydantic turns "0.3" into a number where one is expected
            given[name] = _value(text) if text.startswith("{") else text

    config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, protected_namespaces=())
    fields: Any = flow.parameters()
    model = create_model("Parameters", __config__=config, **fields)
    try:
        checked = model(**given)
    except ValidationError as error:
        raise UserError(_sentence(error, flow.name, model)) from None
    return checked.model_dump(include=set(given))


def _value(text: str) -> Any:
    """Return the JSON value of a text, such as a number, true or null; else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _read_param_file(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():  # a pipe, say, which may never end
            raise UserError(f"--param-file {path} is not a file.")
        if path.stat().st_size > LARGEST_PARAM_FILE_BYTES:
            raise UserError(f"--param-file {path} is far too large for parameters.")
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"--param-file {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"--param-file {path} is not valid JSON: {error}.") from None
    if not isinstance(given, dict):
        raise UserError(f"--param-file {path} must hold one JSON object, as params.json does.")
    return given


def _sentence(error: ValidationError, flow_name: str, model: type[BaseModel]) -> str:
    unknown, problems = [], []
    for detail in error.errors():
        name = ".".join(map(str, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            unknown.append(printable(repr(name)))
        elif detail["type"] == "missing":
            problems.append(f"{flow_name} needs the parameter {name}")
        else:
            reason = re.sub(r"^(Input|String|Value error,) ", "", detail["msg"])
            reason = re.sub(r"^Unable to parse input string as", "should be", reason)
            value = printable(repr(detail["input"]))
            problems.append(f"{name}={value} is not allowed, it {reason}")
    if unknown:
        names = ", ".join(model.model_fields) or "none"
        problems.append(f"{flow_name} has no parameter {', '.join(unknown)}; it has {names}")
    return "; ".join(problems) + "."
