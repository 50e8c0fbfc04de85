"""The flows: one file each. A new file with a `@flow` in it is found by `python main.py`."""

import runtime  # noqa: F401  (before Prefect, which it tells where the project is)
