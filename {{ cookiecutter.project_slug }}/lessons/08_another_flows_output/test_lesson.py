"""The check of lesson 8: one flow reads what another has kept, and never makes it again."""

from pathlib import Path
from typing import Any

from lessons.workshop.exercise import Exercise, a_table, expect
from runtime import LocalResult, UserError

PROCESSED = LocalResult(dir="data/processed")


def test_the_other_flow_goes_on_with_the_split_that_is_asked_for(exercise: Exercise) -> None:
    read_split, data_science = exercise.task("read_split"), exercise.flow("data_science")
    kept = _two_kept_splits(exercise)
    for checkpoint, split in kept:
        found = exercise.run(read_split, checkpoint).result
        expect(_same(found, split), "other_split", checkpoint=checkpoint)
    expect("checkpoint" in data_science.parameters.properties, "no_parameter")
    checkpoint, split = kept[0]
    run = exercise.run(data_science, checkpoint=checkpoint)
    expect(run.states("read_split"), "not_read")
    again = run.states("split_data") or run.subflows
    expect(not again, "split_again")
    expect(isinstance(run.result, dict), "no_predictions")
    known = set(split["train_y"])
    right = set(run.result) == set(split["test_x"].index) and set(run.result.values()) <= known
    expect(right, "not_used", checkpoint=checkpoint)


def test_the_file_passes_it_on_from_flow_to_flow(exercise: Exercise) -> None:
    runs = exercise.run_script()
    kept = [run.record.name for run in runs if run.flow_name == "data-engineer"]
    read = [run.parameters for run in runs if run.flow_name == "data-science"]
    expect(kept and read, "not_run")
    checkpoint = str(read[-1].get("checkpoint"))
    expect(kept[-1] in checkpoint, "not_passed_on", kept=kept[-1], checkpoint=checkpoint)


def _two_kept_splits(exercise: Exercise) -> list[tuple[str, Any]]:
    """Run `data_engineer` on flowers of two kinds; return where it has kept what, older first."""
    kept = []
    for file in (Path("one.csv"), Path("two.csv")):
        a_table().to_csv(file, index=False)
        checkpoint = exercise.run(exercise.flow("data_engineer"), file).result
        try:
            kept.append((checkpoint, PROCESSED.read(location=f"{checkpoint}/split_data").value))
        except UserError:
            expect(False, "not_kept")
        file.unlink()
    return kept


def _same(found: object, split: Any) -> bool:
    return isinstance(found, dict) and all(split[name].equals(found.get(name)) for name in split)
