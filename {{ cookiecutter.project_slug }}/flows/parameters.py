"""What each flow can be given: names, types, bounds and defaults, checked before anything runs."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flows import UserError, shown

LARGEST_PARAM_FILE_BYTES = 10**6


def _about(text: str) -> dict[str, Any]:
    """Return what shows a text in the dashboard's form, where Prefect drops a `description`."""
    return {"description": text}


def _seed(text: str) -> Any:
    return Field(ge=0, lt=2**32, json_schema_extra=_about(text))


def _run_name(text: str) -> Any:
    # The pattern keeps a run's folder inside its parent and legal on every operating system.
    pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
    return Field(pattern=pattern, max_length=120, json_schema_extra=_about(text))


RawPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1000,
        json_schema_extra=_about("CSV file with the raw data, relative to the project."),
    ),
]
TargetCol = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1000,
        json_schema_extra=_about("Column that holds the class of each row."),
    ),
]
TestDataRatio = Annotated[
    float,
    Field(
        gt=0,
        lt=1,
        json_schema_extra=_about("Share of the rows kept for testing, between 0 and 1."),
    ),
]
Seed = Annotated[int, _seed("Decides which rows go where: the same seed, the same split.")]
InverseRegularization = Annotated[
    float,
    Field(
        gt=0,
        allow_inf_nan=False,
        json_schema_extra=_about("How freely the model follows the data: small means simple."),
    ),
]
MaxIter = Annotated[
    int,
    Field(ge=1, le=10**6, json_schema_extra=_about("How many iterations the training may take.")),
]
SearchSeed = Annotated[
    int, _seed("Decides which candidates are tried, and which rows form a fold.")
]
Candidates = Annotated[
    int,
    Field(ge=1, le=1000, json_schema_extra=_about("How many models are tried, one task each.")),
]
Folds = Annotated[
    int,
    Field(
        ge=2,
        le=20,
        json_schema_extra=_about("Parts of the training set, each of which tests the others once."),
    ),
]
RunName = Annotated[
    str | None, _run_name("Name of the run's folder; leave it empty for a new one.")
]
Checkpoint = Annotated[
    str, _run_name("Run whose split is used: latest, or a folder of data/processed.")
]
Deployed = Annotated[
    bool,
    Field(
        json_schema_extra=_about("Start both flows as deployments, each in a process of its own.")
    ),
]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    @field_validator("raw_path", check_fields=False)
    @classmethod
    def _is_no_address(cls, path: str) -> str:
        if "://" in path:
            raise ValueError("must be a file of this machine: download it first")
        return path


class DataEngineerParameters(_Parameters):
    """Parameters of `data-engineer`."""

    raw_path: RawPath = "data/raw/iris.csv"
    target_col: TargetCol = "species"
    test_data_ratio: TestDataRatio = 0.2
    seed: Seed = 42
    run: RunName = None


class DataScienceParameters(_Parameters):
    """Parameters of `data-science`."""

    checkpoint: Checkpoint = "latest"
    C: InverseRegularization = 1.0
    max_iter: MaxIter = 200
    run: RunName = None


class TuneParameters(_Parameters):
    """Parameters of `tune`."""

    checkpoint: Checkpoint = "latest"
    candidates: Candidates = 20
    folds: Folds = 5
    seed: SearchSeed = 42
    max_iter: MaxIter = 200
    run: RunName = None


class MainFlowParameters(_Parameters):
    """Parameters of `main-flow`: those of both flows, without what it fills in itself."""

    raw_path: RawPath = "data/raw/iris.csv"
    target_col: TargetCol = "species"
    test_data_ratio: TestDataRatio = 0.2
    seed: Seed = 42
    C: InverseRegularization = 1.0
    max_iter: MaxIter = 200
    deployed: Deployed = False


PARAMETERS: dict[str, type[_Parameters]] = {
    "main-flow": MainFlowParameters,
    "data-engineer": DataEngineerParameters,
    "data-science": DataScienceParameters,
    "tune": TuneParameters,
}


def read_parameters(flow_name: str, params: list[str], param_file: Path | None) -> dict[str, Any]:
    """Merge `--param-file` and `--param name=value` (which wins), and check them for one flow.

    Returns only what was given: the defaults stay with the flow. Raises `UserError` with one
    sentence for a file that cannot be read, an unknown name, or a value that is not allowed.
    """
    given = _read_param_file(param_file) if param_file else {}
    for param in params:
        name, equals, text = param.partition("=")
        if not equals:
            raise UserError(f"--param {shown(repr(param))} has no '=': write it as name=value.")
        given[name.strip()] = text.strip()  # pydantic turns "0.3" into a number where one is due

    model = PARAMETERS[flow_name]
    try:
        checked = model(**given)
    except ValidationError as error:
        raise UserError(_in_one_sentence(error, flow_name, model)) from None
    return checked.model_dump(include=set(given))


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


def _in_one_sentence(error: ValidationError, flow_name: str, model: type[_Parameters]) -> str:
    unknown, problems = [], []
    for detail in error.errors():
        name = str(detail["loc"][0])
        if detail["type"] == "extra_forbidden":
            unknown.append(shown(repr(name)))
        else:
            reason = re.sub(r"^(Input|String|Value error,) ", "", detail["msg"])
            reason = re.sub(r"^Unable to parse input string as", "should be", reason)
            value = shown(repr(detail["input"]))
            problems.append(f"{name}={value} is not allowed, it {reason}")
    if unknown:
        known = ", ".join(model.model_fields)
        problems.append(f"{flow_name} has no parameter {', '.join(unknown)}; it has {known}")
    return "; ".join(problems) + "."
