"""A flow of so many trivial tasks, on the settings and the server of our project."""

import os
import sys

from runtime.cli import without_garbage_collection
from runtime.server import settings_for, use_server, wait_until_ready
from runtime.settings import CONSOLE_HANDLER

os.environ[CONSOLE_HANDLER] = "runtime.console.PlainConsoleHandler"
with without_garbage_collection():  # as in main.py, and the server starts meanwhile
    server = use_server()
    from prefect import flow, task
    from runtime import in_run_folder


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
