"""The flows: one file each. A new file with a `@flow` in it is found by `python main.py`."""
