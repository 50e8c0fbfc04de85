"""A flow of so many trivial tasks, as Prefect's documentation writes one."""

import sys

from prefect import flow, task


@task
def one(number: int) -> int:
    return number


@flow
def many(count: int) -> None:
    for number in range(count):
        one(number)


if __name__ == "__main__":
    many(int(sys.argv[1]))
