"""Sets the exercises of a student aside, before `--overwrite-if-exists` writes over them.

Runs in the project's folder. `post_gen_project.py` puts them back.
"""

from pathlib import Path

ORIGINALS = Path("lessons/workshop/originals")  # the exercises as they were delivered

for exercise in Path("lessons").glob("[0-9][0-9]_*/exercise.py"):
    original = ORIGINALS / f"{exercise.parent.name}.txt"
    if not original.exists() or original.read_bytes() != exercise.read_bytes():
        exercise.replace(exercise.with_suffix(".student"))
