"""Beginners' mistakes in Python and Prefect, recognized by the errors that they cause.

Each has a sentence under its key in `[findings]` of texts.*.toml, and a file that a beginner wrote
in `tests/lessons/any.toml` of the template.
"""

import builtins
import difflib
import inspect
import re
import sys
from types import FrameType
from typing import NamedTuple

import prefect

LONGEST_REASON = 200  # characters


class Mistake(NamedTuple):
    """How a mistake is recognized; named groups of the patterns are values for its sentence."""

    key: str
    error: str  # the names of the error's class, as a regular expression
    message: str = ""  # is found in the error's message
    line: str = ""  # is found in the line of the student's file
    is_misspelt: bool = False  # only where another name resembles the wrong one: the value `meant`


# The modules of the names that exercises use.
MODULES = {
    "task": "prefect",
    "flow": "prefect",
    "serve": "prefect",
    "get_run_logger": "prefect",
    "runtime": "prefect",
    "Cron": "prefect.schedules",
    "Interval": "prefect.schedules",
    "RRule": "prefect.schedules",
    "INPUTS": "prefect.cache_policies",
    "TASK_SOURCE": "prefect.cache_policies",
    "Any": "typing",
    "Path": "pathlib",
    "datetime": "datetime",
    "timedelta": "datetime",
    "train_test_split": "sklearn.model_selection",
    "LogisticRegression": "sklearn.linear_model",
}
ARTICLE_METHODS = "run|register|bind|set_upstream|set_downstream|set_dependencies"
ARTICLE_ARGUMENTS = (
    "log_stdout|checkpoint|target|result|schedule|max_retries|retry_delay|upstream_tasks|"
    "executor|storage|run_config|state_handlers|trigger|cache_for|cache_validator|nout"
)
ARTICLE_NAMES = (
    "case|context|apply_map|switch|merge|CronSchedule|IntervalSchedule|Schedule|LocalResult|"
    "GCSResult|S3Result|LocalExecutor|LocalDaskExecutor|StartFlowRun|create_flow_run|"
    "wait_for_flow_run"
)
DECORATOR = r"^\s*@\w+(\(.*\))?\s*"
NUMBERS = r"(?<![\w.\[])(?P<numbers>0,\d+)|[=:] ?(?P<spaced>0, \d+)"
NOT_DEFINED = r"^name '(?P<name>\w+)' is not defined"
CALL_ERRORS = "TypeError|ParameterBindError"  # Python's, and Prefect's for a task or a flow
UNKNOWN_ARGUMENT = r"unexpected keyword argument '(?P<name>\w+)'"
CALLED = r"(?P<name>\w+)(\(\)|'):? "  # "f() takes ...", "... for function 'f': too many ..."

# The first that fits counts.
MISTAKES = [
    # What the article uses, and Prefect 3 no longer has.
    Mistake("article_parameter", "ImportError|NameError", r"name 'Parameter'"),
    Mistake("article_with", "TypeError", line=r"^\s*with +(prefect\.)?[Ff]low\b"),
    Mistake("article_with", "TypeError", r"'(Flow|partial|function)' .*context manager"),
    Mistake("article_run", "AttributeError", r"^'Flow' object has no attribute 'run'"),
    Mistake("article_run_task", "AttributeError", r"^'Task' object has no attribute 'run'"),
    Mistake(
        "article_method",
        "AttributeError",
        rf"^'(Flow|Task)' object has no attribute '(?P<name>{ARTICLE_METHODS})'",
    ),
    Mistake("article_log", "TypeError", r"unexpected keyword argument 'log_stdout'"),
    Mistake(
        "article_argument",
        "TypeError",
        rf"^(task|FlowDecorator).* unexpected keyword argument '(?P<name>{ARTICLE_ARGUMENTS})'",
    ),
    Mistake(
        "article_import",
        "ImportError",
        rf"cannot import name '(?P<name>{ARTICLE_NAMES})' from 'prefect",
    ),
    Mistake("article_import", "ModuleNotFoundError", r"^No module named '(?P<name>prefect\..+?)'"),
    Mistake("article_logger", "AttributeError", r"prefect\.context' has no attribute 'get'"),
    # What cannot be read as Python.
    Mistake(
        "decimal_comma",
        "SyntaxError|TypeError|ParameterBindError|ParameterTypeError|InvalidParameterError",
        line=NUMBERS,
    ),
    Mistake("decimal_comma", "InvalidParameterError", r"Got \((?P<numbers>\d+, \d+)\)"),
    Mistake("quote", "SyntaxError", r"invalid character '(?P<quote>[“”„‘’«»´])'"),  # noqa: RUF001
    Mistake("tab", "TabError"),
    Mistake("no_indent", "IndentationError", r"expected an indented block"),
    Mistake("indent", "IndentationError"),
    Mistake("no_colon", "SyntaxError", r"expected ':'"),
    Mistake("old_print", "SyntaxError", r"Missing parentheses in call to 'print'"),
    Mistake("equals", "SyntaxError", r"Maybe you meant '==' |perhaps you meant \"==\""),
    Mistake("not_closed", "SyntaxError", r"'(?P<bracket>[(\[{])' was never closed"),
    Mistake("no_end_of_text", "SyntaxError", r"unterminated (f-)?string|EOL while scanning"),
    Mistake("no_comma", "SyntaxError", r"Perhaps you forgot a comma"),
    Mistake("decorator_line", "SyntaxError", "invalid syntax", DECORATOR + r"(:|def\b)"),
    Mistake("capital", "SyntaxError", "invalid syntax", r"^\s*(?P<name>Def|Return|Import|From)\b"),
    Mistake("return_outside", "SyntaxError", r"'return' outside function"),
    # Names and their modules.
    Mistake("no_import", "NameError", rf"^name '(?P<name>{'|'.join(MODULES)})' is not defined"),
    Mistake("no_pandas", "NameError", r"^name '(pd|pandas)' is not defined"),
    Mistake("own_module", "NameError", r"^name '(?P<name>exercise|tasks|flows)' is not defined"),
    Mistake("name_misspelt", "NameError", NOT_DEFINED, is_misspelt=True),
    Mistake("name_unknown", "NameError", NOT_DEFINED),
    Mistake("name_before_value", "UnboundLocalError", r"variable '(?P<name>\w+)'"),
    Mistake(
        "import_misspelt", "ImportError", r"cannot import name '(?P<name>\w+)'", is_misspelt=True
    ),
    Mistake("module_called", "TypeError", r"^'module' object is not callable", r"@(?P<name>\w+)"),
    Mistake("not_called", "TypeError", r"^'(Task|Flow|function)' object is not"),
    Mistake("attribute_misspelt", "AttributeError", r"attribute '(?P<name>\w+)'", is_misspelt=True),
    Mistake("not_called", "AttributeError", r"^'(Task|Flow|function)' object has no attribute"),
    # Calls and values.
    Mistake("name_first", "TypeError", r"^'fn' must be callable"),
    Mistake(
        "argument_misspelt",
        CALL_ERRORS,
        UNKNOWN_ARGUMENT,
        is_misspelt=True,
    ),
    Mistake(
        "argument_unknown",
        CALL_ERRORS,
        UNKNOWN_ARGUMENT,
    ),
    Mistake(
        "argument_missing",
        CALL_ERRORS,
        rf"{CALLED}.*?missing .*?argument.*?'(?P<argument>\w+)'",
    ),
    Mistake(
        "argument_too_many",
        CALL_ERRORS,
        rf"{CALLED}.*?(too many positional arguments|takes .* positional arguments? but)",
    ),
    Mistake("no_value", "TypeError|AttributeError", r"^'NoneType' object"),
    Mistake("no_column", "KeyError", r"^\W*(?P<name>\w[\w .-]*)"),
    Mistake("no_data_file", "FileNotFoundError", r"directory: '(?P<name>.+)'"),
    Mistake("value_type", "ParameterTypeError", r"parameters:\s+- (?P<reason>.+)"),
    Mistake("value_type", "Error$", r"Validation failed for field (?P<reason>.+?)\\?[\"}]"),
    Mistake("time_zone", "Error$", r"[Ii]nvalid timezone: \"(?P<name>.+?)\""),
    Mistake("cron", "Error$", r"[Ii]nvalid cron string: \"(?P<text>.*?)\""),
    Mistake("asks", "EOFError|OSError", line=r"\binput *\("),
    Mistake("asks", "EOFError|OSError", r"reading from stdin|EOF when reading"),
    Mistake("calls_itself", "RecursionError"),
]


def find_mistake(error: BaseException, line: str) -> tuple[str, dict[str, str]] | None:
    """Return the key of a mistake and the values of its sentence; None for any other error.

    `line` is the text of the line in the student's file that the error comes from.
    """
    name, message = type(error).__name__, str(error)
    for mistake in MISTAKES:
        searches = ((mistake.error, name), (mistake.message, message), (mistake.line, line))
        found = [re.search(pattern, text) for pattern, text in searches]
        if not all(found):
            continue
        values = {k: v for one in found if one for k, v in one.groupdict().items() if v}
        if "spaced" in values:
            values["numbers"] = values.pop("spaced")
        if "name" in values and values["name"] in MODULES:
            values["module"] = MODULES[values["name"]]
        if mistake.is_misspelt:
            close = difflib.get_close_matches(values["name"], _known_names(error), n=1, cutoff=0.7)
            if not close:
                continue
            values["meant"] = close[0]
        return mistake.key, values
    return None


def reason_of(error: BaseException) -> str:
    """Return an error and the line of its message that says what is wrong."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    # Some begin with "... invalid parameters:" or "1 validation error for CronSchedule".
    reason = next((one for one in lines if not re.search(r":$|^\d+ validation error", one)), "")
    if len(reason) > LONGEST_REASON:
        reason = f"{reason[:LONGEST_REASON]} ..."
    name = type(error).__name__
    return f"{name}: {reason}" if reason else name


def _known_names(error: BaseException) -> list[str]:
    """Return the valid names at the place where an error found an unknown one."""
    if isinstance(error, ImportError):
        module = sys.modules.get(error.name or "")
        return [*dir(module), *getattr(module, "__all__", [])]
    if isinstance(error, AttributeError):
        return [one for one in dir(error.obj) if not one.startswith("_")]
    frame = _last_frame(error)
    if isinstance(error, NameError):
        return [*frame.f_locals, *frame.f_globals, *dir(builtins)] if frame else []
    return _arguments(str(error), frame)


def _arguments(message: str, frame: FrameType | None) -> list[str]:
    """Return the parameters of the function that was given an unknown argument."""
    if signature := re.search(r"has signature '(.*)' but", message):  # a task or a flow
        return re.findall(r"(\w+)(?=:|=|,|$)", signature[1])
    called = message.partition("(")[0]
    known = {
        "task": prefect.task,
        "FlowDecorator.__call__": prefect.flow.__call__,
        "Flow.serve": prefect.Flow.serve,
    }
    function = known.get(called) or (frame.f_globals.get(called) if frame else None)
    return list(inspect.signature(function).parameters) if callable(function) else []


def _last_frame(error: BaseException) -> FrameType | None:
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    return traceback.tb_frame if traceback else None
