"""The check of lesson 8: one flow reads what another has kept, and never makes it again."""

from pathlib import Path
from typing import Any

from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore

from lessons.workshop.exercise import Exercise, a_table, expect

PROCESSED = Path("data", "processed", "lesson_08")


def test_the_other_flow_goes_on_with_the_split_that_is_asked_for(exercise: Exercise) -> None:
    read_split, data_science = exercise.task("read_split"), exercise.flow("data_science")
    kept = _two_kept_splits(exercise)
    for location, split in kept:
        found = exercise.run(read_split, location).result
        expect(_same(found, split), "other_split", location=location)
    expect("location" in data_science.parameters.properties, "no_parameter")
    location, split = kept[0]
    run = exercise.run(data_science, location=location)
    expect(run.states("read_split"), "not_read")
    again = run.states("split_data") or run.subflows
    expect(not again, "split_again")
    expect(isinstance(run.result, dict), "no_predictions")
    known = set(split["train"]["species"])
    right = set(run.result) == set(split["test"].index) and set(run.result.values()) <= known
    expect(right, "not_used", location=location)


def test_the_file_hands_it_from_flow_to_flow(exercise: Exercise) -> None:
    runs = exercise.run_script()
    kept = [run.record.name for run in runs if run.flow_name == "data-engineer"]
    read = [run.parameters for run in runs if run.flow_name == "data-science"]
    expect(kept and read, "not_run")
    location = str(read[-1].get("location"))
    expect(kept[-1] in location, "not_handed_on", kept=kept[-1], location=location)


def _two_kept_splits(exercise: Exercise) -> list[tuple[str, Any]]:
    """Run `data_engineer` on flowers of two kinds; return where it has kept what, older first."""
    kept = []
    for file in (Path("one.csv"), Path("two.csv")):
        a_table().to_csv(file, index=False)
        location = exercise.run(exercise.flow("data_engineer"), file).result
        store = ResultStore(result_storage=LocalFileSystem(basepath=str(PROCESSED.resolve())))
        expect(isinstance(location, str) and store.exists(location), "not_kept")
        kept.append((location, store.read(location).result))
        file.unlink()
    return kept


def _same(found: object, split: Any) -> bool:
    return isinstance(found, dict) and all(split[name].equals(found.get(name)) for name in split)
