"""Hands the flow runs that Prefect starts over to the waiting process (`warm.py`).

Python imports a module of this name before all else (see `site` in its documentation). `ui` and
`serve` put this folder on the path of the processes that they start.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent

if sys.orig_argv[1:] == ["-m", "prefect.engine"]:
    paths = os.environ.pop("PYTHONPATH", "").split(os.pathsep)
    if others := [path for path in paths if path != str(HERE)]:
        os.environ["PYTHONPATH"] = os.pathsep.join(others)
    sys.path.insert(0, str(HERE.parent))
    from warm import hand_over

    del sys.path[0]
    exit_code = hand_over("prefect.engine", Path.cwd())
    if exit_code is not None:
        os._exit(exit_code)
