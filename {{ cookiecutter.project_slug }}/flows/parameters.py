"""The parameters of the flows: the type, bounds and meaning of each.

Names and defaults are in the flows' signatures. The dashboard's form shows the meaning.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field


def _parameter(meaning: str, **bounds: Any) -> Any:
    # Prefect drops pydantic's `description`, but keeps `json_schema_extra`.
    return Field(json_schema_extra={"description": meaning}, **bounds)


def _no_address(path: str) -> str:
    if "://" in path:
        raise ValueError("must be a file of this machine: download it first")
    return path


def _names(names: Any) -> Any:
    """Split a text into names, by commas or as a JSON list; return any other value unchanged."""
    if not isinstance(names, str):
        return names
    if names.startswith("["):
        return json.loads(names)
    return [name.strip() for name in names.split(",") if name.strip()]


RawPath = Annotated[
    str,
    AfterValidator(_no_address),
    _parameter("CSV file, relative to the project.", min_length=1, max_length=1000),
]
TargetCol = Annotated[
    str, _parameter("Column that holds the class of each row.", min_length=1, max_length=1000)
]
DropCols = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    _parameter("Columns to leave out: ids, and what gives the answer away.", max_length=10_000),
]
Unlabelled = Annotated[
    Literal["refuse", "drop"],
    _parameter("What becomes of rows without a class: the data is refused, or they are dropped."),
]
TestDataRatio = Annotated[
    float, _parameter("Share of the rows kept for testing, between 0 and 1.", gt=0, lt=1)
]
Seed = Annotated[
    int,
    _parameter("Decides which rows go where: the same seed, the same split.", ge=0, lt=2**32),
]
ModelParams = Annotated[
    dict[str, Any] | None,
    _parameter('Parameters of the model, by their names in scikit-learn, such as {"C": 0.5}.'),
]
MinAccuracy = Annotated[
    float,
    _parameter("A model below this accuracy (0 to 1) fails the run.", ge=0, le=1),
]
Checkpoint = Annotated[
    str,
    # The pattern keeps a run's folder inside its parent, and legal on every operating system.
    _parameter(
        "Run whose split is used: latest, or a folder of data/processed.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=120,
    ),
]
Candidates = Annotated[int, _parameter("How many models are tried, one task each.", ge=1, le=1000)]
Folds = Annotated[
    int,
    _parameter("Parts of the training set: a model of the others predicts each.", ge=2, le=20),
]
SearchSeed = Annotated[
    int,
    _parameter("Decides which candidates are tried, and which rows form a fold.", ge=0, lt=2**32),
]
Deployed = Annotated[
    bool, _parameter("Start both flows as deployments, each in a process of its own.")
]
