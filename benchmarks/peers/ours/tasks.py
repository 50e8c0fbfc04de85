"""A flow of so many trivial tasks, on the settings and the server of our project."""

import gc
import os
import sys

from runtime.server import settings_for, use_server, wait_until_ready
from runtime.settings import CONSOLE_HANDLER

os.environ[CONSOLE_HANDLER] = "runtime.console.PlainConsoleHandler"
gc.disable()  # as in main.py, and the server starts meanwhile
server = use_server()
from prefect import flow, task  # noqa: E402
from runtime import in_run_folder  # noqa: E402

gc.freeze()
gc.enable()


@task
def one(number: int) -> int:
    return number


@flow
@in_run_folder
def many(count: int) -> None:
    for number in range(count):
        one(number)


if __name__ == "__main__":
    wait_until_ready(server)
    with settings_for(server):
        many(int(sys.argv[1]))
