"""The Prefect server of all checks, with records of its own, apart from the project's runs.

So the dashboard of the project shows only the student's runs, and a check never uses their results
or settings. Nor do two sessions share anything: the records last as long as the session.
"""

import atexit
import os
import tempfile
from pathlib import Path

from runtime.server import Server, start
from runtime.server.surroundings import avoid_proxies, check_certificates
from runtime.settings import ROOT

HOME = ROOT / ".prefect" / "lessons"


def start_server() -> Server:
    """Start the server; it ends with this process, and answers after a while.

    The environment of this process is set up for it, too: call it before Prefect is imported.
    """
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"
    # A check waits for what is recorded of its tasks; by default, that is written every 5 seconds.
    os.environ["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL"] = "1"
    os.environ["PREFECT_HOME"] = str(HOME)
    records = tempfile.TemporaryDirectory(prefix="lessons-", ignore_cleanup_errors=True)
    atexit.register(records.cleanup)  # after the server's end, which `start` registers later
    database = Path(records.name, "prefect.db").as_posix()
    os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{database}"
    os.environ["PREFECT_LOCAL_STORAGE_PATH"] = str(Path(records.name, "storage"))
    # Reading all certificates takes a tenth of a second for each client; ours use plain HTTP.
    os.environ["PREFECT_API_TLS_INSECURE_SKIP_VERIFY"] = "true"
    os.environ["PREFECT_PROFILES_PATH"] = str(HOME / "profiles.toml")  # not the student's own
    os.environ.setdefault("MPLCONFIGDIR", str(ROOT / ".prefect" / "matplotlib"))
    os.chdir(ROOT)  # Prefect reads prefect.toml from the current folder
    avoid_proxies()
    check_certificates("")
    server = start()
    os.environ["PREFECT_API_URL"] = server.api_url
    return server
