"""Outputs in buckets: the whole project against real servers that speak S3 and Google's words."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Bake, BakedProject, Run
from measure import free_port
from stores import SECRET, Store, Wire, gcs_store, s3_store

Main = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[a-z-]+"


@pytest.fixture(scope="module")
def s3() -> Iterator[Store]:
    with s3_store() as store:
        yield store


@pytest.fixture(scope="module")
def gcs() -> Iterator[Store]:
    with gcs_store() as store:
        yield store


@pytest.fixture(params=["s3", "gcs"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Return a prefix that no other test has."""
    return "iris/" + re.sub(r"\W+", "-", request.node.name).strip("-")


@pytest.fixture
def main(run: Run) -> Main:
    """Return a function that runs `python main.py` with the outputs in a store's bucket."""

    def main(
        project: BakedProject, store: Store, prefix: str, *arguments: object, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        settings = {
            **store.environment,
            "OUTPUTS": f"{store.scheme}://lab/{prefix}",
            **environment,
        }
        answer = run(sys.executable, "main.py", *arguments, cwd=project.path, **settings)
        shown = answer.stdout + answer.stderr
        assert "Traceback" not in shown
        assert SECRET not in shown
        return answer

    return main


def the_run(answer: subprocess.CompletedProcess[str]) -> str:
    """Return the name of the run whose summary a command shows."""
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = re.search(
        rf"^(?:Checkpoints|Report) .*/({RUN})(?:/report\.html)?$", answer.stdout, re.M
    )
    assert found, answer.stdout
    return found[1]


def facts(store: Store, prefix: str, run: str) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(store.objects(f"{prefix}/data/processed/{run}")["run.json"])
    del known["sha256"]
    return known


def sealed(told: dict[str, Any]) -> bytes:
    """Return a run.json as a run writes it."""
    checksum = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return json.dumps({**told, "sha256": checksum}).encode()


def error_of(answer: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """Return the one sentence that a command ended with, which left nothing else to read."""
    assert answer.returncode == exit_code, answer.stdout + answer.stderr
    assert answer.stdout == ""
    [said] = answer.stderr.splitlines()
    assert said.startswith("Error: ")
    return said


def test_a_run_on_one_machine_goes_on_on_another(
    store: Store, prefix: str, bake: Bake, main: Main
) -> None:
    one, other = bake(), bake()
    address = f"{store.scheme}://lab/{prefix}"
    answer = main(one, store, prefix, "run", "data-engineer")
    split = the_run(answer)
    assert f"Checkpoints  {address}/data/processed/{split}\n" in answer.stdout

    # Of a run that goes on elsewhere, or was killed there, nothing is the latest.
    killed = "2999-01-01_00-00-00_killed"
    for name in store.objects(f"{prefix}/data/processed/{split}"):
        store.write(f"{prefix}/data/processed/{killed}/{name}", b"it would be found damaged")
    told = facts(store, prefix, split)
    told |= {"run": killed, "number": 2, "state": "Running", "results": {}}
    store.write(f"{prefix}/data/processed/{killed}/run.json", sealed(told))

    answer = main(other, store, prefix, "run", "data-science")
    trained = the_run(answer)
    assert f"Model        {address}/models/{trained}/train_model.skops\n" in answer.stdout
    assert f"Report       {address}/reports/{trained}/report.html\n" in answer.stdout
    told = facts(store, prefix, trained)
    assert (told["state"], told["number"]) == ("Completed", 3)
    assert told["results"]["train_model"]["file"] == f"models/{trained}/train_model.skops"
    assert facts(store, prefix, split)["results"].keys() == {"get_classes", "split_data"}

    answer = main(one, store, prefix, "predict", "5.1", "3.5", "1.4", "0.2")
    assert answer.stdout.startswith("setosa (probability 0.9")
    answer = main(other, store, prefix, "run", "data-engineer")
    assert re.search(r"'encode_categorical_columns-\w+' - Finished in state Cached", answer.stderr)

    names = list(store.objects(prefix))
    files = [name for name in names if trained in name and ".records" not in name]
    assert sorted(files) == [
        f"data/processed/{trained}/run.json",
        f"models/{trained}/train_model.skops",
        *(f"reports/{trained}/{name}" for name in ("confusion_matrix.png", "metrics.json")),
        f"reports/{trained}/report.html",
    ]
    # Encoded data and a picture, each with its record.
    assert sum(name.startswith("data/interim/") for name in names) == 4
    for project in (one, other):
        for folder in ("data/interim", "data/processed", "models", "reports"):
            assert not (project.path / folder).exists()
    assert not [name for name, content in store.objects(prefix).items() if SECRET in str(content)]


def test_old_runs_are_removed_from_the_bucket(
    store: Store, prefix: str, bake: Bake, main: Main
) -> None:
    project = bake()
    first = the_run(main(project, store, prefix, "run", "data-engineer"))
    told = facts(store, prefix, first)
    names = ("marked", "read", "old", "going-on")
    old = {name: f"2026-01-0{number}_00-00-00_{name}" for number, name in enumerate(names, 1)}
    more = {"going-on": {"state": "Running", "reads": old["read"]}}
    for number, (name, run) in enumerate(old.items()):
        like = {**told, "run": run, "number": -number, "flow_run_id": name, **more.get(name, {})}
        like["flow"] = "data-engineer"
        store.write(f"{prefix}/data/processed/{run}/run.json", sealed(like))
        store.write(f"{prefix}/models/{run}/train_model.skops", b"")
    store.write(f"{prefix}/reports/{old['marked']}/keep", b"")
    unused = "data/interim/encode_categorical_columns-0123456789abcdef.parquet"
    for name in (unused, "data/interim/notes.txt", "data/processed/mine/notes.txt"):
        store.write(f"{prefix}/{name}", b"")

    answer = main(project, store, prefix, "run", "data-engineer", KEEP_RUNS="1")
    last = the_run(answer)
    assert f"Removed 2 old run(s), up to {first}: the newest 1 are kept" in answer.stderr
    left = store.objects(prefix)
    kept = {name.split("/")[2] for name in left if name.startswith("data/processed/")}
    assert kept == {old["marked"], old["read"], old["going-on"], last, "mine"}
    models = {name.split("/")[1] for name in left if name.startswith("models/")}
    assert models == {old["marked"], old["read"], old["going-on"]}
    assert unused not in left
    assert "data/interim/notes.txt" in left
    # What this run used is still there, though it was written before it began.
    assert re.search(r"'encode_categorical_columns-\w+' - Finished in state Cached", answer.stderr)
    assert sum(name.endswith(".parquet") for name in left if name.startswith("data/interim/")) == 1


def test_of_runs_that_begin_at_once_each_folder_goes_to_one(
    store: Store, prefix: str, bake: Bake
) -> None:
    """Two processes want the same twenty folders."""
    project = bake()
    claim = (
        "import sys; from flows.places import place; processed = place('data/processed');"
        "print(sum(processed.create(f'{n}/run.json', sys.argv[1].encode(), '') for n in range(20)))"
    )
    environment = {**os.environ, **store.environment, "OUTPUTS": f"{store.scheme}://lab/{prefix}"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", claim, name],
            cwd=project.path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    got = [int(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(got) == 20
    owners = [content.decode() for content in store.objects(prefix).values()]
    assert [owners.count("one"), owners.count("other")] == got


def test_what_is_sent_in_parts_comes_back_whole(
    store: Store, prefix: str, bake: Bake, run: Run
) -> None:
    twice = (
        "from flows.places import place; cache, content = place('data/interim'), b'row' * 10**7;"
        "cache.put('large', content); assert cache.get('large') == content"
    )
    settings = {**store.environment, "OUTPUTS": f"{store.scheme}://lab/{prefix}"}
    answer = run(sys.executable, "-c", twice, cwd=bake().path, **settings)
    assert answer.returncode == 0, answer.stderr
    assert [len(content) for content in store.objects(prefix).values()] == [30_000_000]


def test_a_damaged_object_is_refused_by_name(
    store: Store, prefix: str, bake: Bake, main: Main
) -> None:
    project = bake()
    run = the_run(main(project, store, prefix))
    model = f"models/{run}/train_model.skops"
    split = f"data/processed/{run}/split_data.parquet"
    for name in (model, split):
        store.write(f"{prefix}/{name}", store.objects(prefix)[name][:-1])
    address = f"{store.scheme}://lab/{prefix}"
    said = error_of(main(project, store, prefix, "predict", "5.1", "3.5", "1.4", "0.2"), 2)
    assert said.startswith(f"Error: {address}/{model}: its checksum is another, it is damaged")
    answer = main(project, store, prefix, "run", "data-science")
    assert answer.returncode == 2
    wanted = f"Error: {address}/{split} is damaged: run its flow again."
    assert answer.stderr.splitlines()[-1] == wanted
    # Nor is a damaged output taken from the cache: it is computed again.
    [cached] = [name for name in store.objects(prefix) if re.match(r"data/interim/enc", name)]
    store.write(f"{prefix}/{cached}", b"damaged")
    answer = main(project, store, prefix, "run", "data-engineer")
    the_run(answer)
    assert re.search(r"'encode_categorical_columns-\w+' - Finished in state Comp", answer.stderr)


# ---- what is wrong is said before anything runs


@pytest.mark.parametrize(
    ("scheme", "package", "extra"), [("s3", "prefect_aws", "s3"), ("gs", "prefect_gcp", "gcs")]
)
def test_a_missing_extra_is_named(
    scheme: str, package: str, extra: str, bake: Bake, run: Run
) -> None:
    project = bake()
    without = f"import sys; sys.modules[{package!r}] = None; import main; "
    answer = run(
        *(sys.executable, "-c", f"{without}sys.exit(main.main(['run']))"),
        cwd=project.path,
        OUTPUTS=f"{scheme}://lab/iris",
    )
    assert error_of(answer, 2) == (
        f"Error: {scheme}://lab/iris needs the extra {extra}: "
        f'run `pip install ".[{extra}]"` in the project.'
    )
    assert not (project.path / ".prefect" / "prefect.db").exists()


def test_a_bucket_that_is_not_there_is_said(store: Store, bake: Bake, main: Main) -> None:
    nowhere = {"OUTPUTS": f"{store.scheme}://no-such-bucket/iris"}
    said = error_of(main(bake(), store, "", **nowhere), 2)
    assert said.startswith(f"Error: {nowhere['OUTPUTS']} cannot be used: ")
    assert said.endswith(": create the bucket, or correct its address.")


def test_a_key_that_is_refused_is_said(store: Store, bake: Bake, main: Main) -> None:
    said = error_of(main(bake(), store, "iris", **store.refuse_keys()), 2)
    assert said.startswith(f"Error: {store.scheme}://lab/iris cannot be used: ")
    assert re.search(r"access key|Invalid JWT Signature", said, re.IGNORECASE)
    assert re.search(r": see whether (AWS_ACCESS_KEY_ID|you are logged in)", said)


def test_a_store_that_does_not_answer_is_said(store: Store, bake: Bake, main: Main) -> None:
    said = error_of(main(bake(), store, "iris", **store.settings(free_port())), 1)
    assert said.startswith(f"Error: {store.scheme}://lab/iris cannot be used: ")
    assert said.endswith(": see whether it is reached from here.")


# ---- a connection that is cut


@pytest.fixture
def wire(store: Store) -> Iterator[Wire]:
    cut = Wire(store.port)
    yield cut
    cut.close()


def test_a_connection_that_is_cut_once_is_not_noticed(
    store: Store, prefix: str, wire: Wire, bake: Bake, main: Main
) -> None:
    wire.cut_at = b"split_data.parquet"
    answer = main(bake(), store, prefix, "run", "data-engineer", **store.settings(wire.port))
    assert facts(store, prefix, the_run(answer))["state"] == "Completed"
    assert wire.cuts == 1


def test_a_connection_that_is_cut_for_good_fails_the_run_and_loses_nothing(
    store: Store, prefix: str, wire: Wire, bake: Bake, main: Main
) -> None:
    project, settings = bake(), store.settings(wire.port)
    good = the_run(main(project, store, prefix, "run", "data-engineer", **settings))
    before = store.objects(prefix)
    wire.cut_at, wire.for_good = b"split_data.parquet", True
    answer = main(project, store, prefix, "run", "data-engineer", AWS_MAX_ATTEMPTS="2", **settings)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    said = answer.stderr.splitlines()[-1]
    assert re.match(rf"Error: {store.scheme}://lab/{prefix}/data/processed cannot be used: ", said)
    assert wire.cuts
    after = store.objects(prefix)
    assert {name: after[name] for name in before} == before
    [cut] = {name.split("/")[2] for name in after if name.startswith("data/processed/")} - {good}
    assert sorted(name for name in after if cut in name) == [
        f"data/processed/{cut}/.records/get_classes.json",
        f"data/processed/{cut}/get_classes.json",
        f"data/processed/{cut}/run.json",
    ]

    wire.for_good = False
    answer = main(project, store, prefix, "run", "data-science", **settings)
    assert f"The run {cut} was killed: it is marked as Crashed." in answer.stderr
    the_run(answer)
    assert facts(store, prefix, cut)["state"] == "Crashed"
