"""A flow of so many trivial tasks, on the settings and the server of our project."""

import os
import sys

from flows import CONSOLE_HANDLER
from flows.server import settings_for, use_server, wait_until_ready
from main import quick_imports

os.environ[CONSOLE_HANDLER] = "flows.logs.PlainConsoleHandler"
with quick_imports():  # as in main.py, and the server starts meanwhile
    server = use_server()
    from prefect import flow, task


@task
def one(number: int) -> int:
    return number


@flow
def many(count: int) -> None:
    for number in range(count):
        one(number)


if __name__ == "__main__":
    with settings_for(wait_until_ready(server)):
        many(int(sys.argv[1]))
