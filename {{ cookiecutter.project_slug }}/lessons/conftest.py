"""What pytest finds here for all checks; it is written in workshop/plugin.py."""

from lessons.workshop.plugin import (  # noqa: F401
    exercise,
    pytest_addoption,
    pytest_runtest_makereport,
    server,
)
