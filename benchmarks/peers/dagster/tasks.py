"""A job of so many trivial ops, run in this process and recorded."""

import sys

import dagster as dg


@dg.op
def one() -> int:
    return 1


@dg.job
def many():
    for number in range(int(sys.argv[1])):
        one.alias(f"one_{number}")()


if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        many.execute_in_process(instance=instance)
