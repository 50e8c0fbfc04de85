"""Outputs in buckets: the whole project against stores that answer as Amazon's and Google's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake, BakedProject, Run
from measure import free_port
from stores import KEY, Store, Wire, gcs_store, s3_store

pytestmark = pytest.mark.slow

Main = Callable[..., "subprocess.CompletedProcess[str]"]
PREDICT = ("predict", "5.1", "3.5", "1.4", "0.2")
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
    known: Store = request.getfixturevalue(request.param)
    return known


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
        assert store.secret not in shown
        return answer

    return main


def run_name(answer: subprocess.CompletedProcess[str]) -> str:
    """Return the name of the run whose summary a command shows."""
    assert answer.returncode == 0, answer.stdout + answer.stderr
    match = re.search(
        rf"^(?:Checkpoints|Report) .*/({RUN})(?:/report\.html)?$", answer.stdout, re.M
    )
    assert match, answer.stdout
    return match[1]


def facts(store: Store, prefix: str, run: str) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(store.objects(f"{prefix}/data/processed/{run}")["run.json"])
    return known


def sentence(answer: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """Return the one sentence that a command ended with, which left nothing else to read."""
    assert answer.returncode == exit_code, answer.stdout + answer.stderr
    assert answer.stdout == ""
    [line] = answer.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def test_a_run_on_one_machine_goes_on_on_another(
    store: Store, prefix: str, bake: Bake, main: Main
) -> None:
    one, other = bake(), bake()
    address = f"{store.scheme}://lab/{prefix}"
    answer = main(one, store, prefix, "run", "data-engineer")
    split = run_name(answer)
    assert f"Checkpoints  {address}/data/processed/{split}\n" in answer.stdout

    # A run that is still running elsewhere, or was killed there, never counts as the latest.
    killed = "2999-01-01_00-00-00_killed"
    for name in store.objects(f"{prefix}/data/processed/{split}"):
        store.write(f"{prefix}/data/processed/{killed}/{name}", b"it would be found damaged")
    changed = {"run": killed, "state": "Running", "results": {}}
    known = json.dumps(facts(store, prefix, split) | changed)
    store.write(f"{prefix}/data/processed/{killed}/run.json", known.encode())

    answer = main(other, store, prefix, "run", "data-science")
    trained = run_name(answer)
    assert f"Model        {address}/models/{trained}/train_model.skops\n" in answer.stdout
    assert f"Report       {address}/reports/{trained}/report.html\n" in answer.stdout
    trained_facts = facts(store, prefix, trained)
    assert (trained_facts["state"], trained_facts["reads"]) == ("Completed", split)
    model = trained_facts["results"]["train_model"]["file"]
    assert model == f"models/{trained}/train_model.skops"
    assert facts(store, prefix, split)["results"].keys() == {"get_classes", "split_data"}

    answer = main(one, store, prefix, *PREDICT)
    assert answer.stdout.startswith("setosa (probability 0.9")
    answer = main(other, store, prefix, "run", "data-engineer")
    assert re.search(r"'encode_categorical_columns-\w+' - Finished in state Cached", answer.stderr)

    names = list(store.objects(prefix))
    files = [
        name for name in names if trained in name and not re.search(r"\.(records|readers)/", name)
    ]
    assert sorted(files) == [
        f"data/processed/{trained}/run.json",
        f"models/{trained}/get_schema.json",
        f"models/{trained}/train_model.skops",
        *(f"reports/{trained}/{name}" for name in ("confusion_matrix.png", "metrics.json")),
        f"reports/{trained}/report.html",
    ]
    # Encoded data and a picture, each with its record.
    assert sum(name.startswith("data/interim/") for name in names) == 4
    for project in (one, other):
        for folder in ("data/interim", "data/processed", "models", "reports"):
            assert not (project.path / folder).exists()
    assert store.secret.encode() not in b"".join(store.objects(prefix).values())


@pytest.mark.parametrize("store", ["gcs"], indirect=True)
def test_old_runs_are_removed_from_the_bucket(
    store: Store, prefix: str, bake: Bake, main: Main
) -> None:
    project = bake()
    first = run_name(main(project, store, prefix, "run", "data-engineer"))
    known = facts(store, prefix, first)
    names = ("marked", "read", "old", "going-on")
    old = {name: f"2026-01-0{number}_00-00-00_{name}" for number, name in enumerate(names, 1)}
    more = {"going-on": {"state": "Running", "reads": old["read"]}}
    for name, run in old.items():
        changed = known | {"run": run, "flow_run_id": name, **more.get(name, {})}
        store.write(f"{prefix}/data/processed/{run}/run.json", json.dumps(changed).encode())
        store.write(f"{prefix}/models/{run}/train_model.skops", b"")
    store.write(f"{prefix}/reports/{old['marked']}/keep", b"")
    unused = "data/interim/encode_categorical_columns-0123456789abcdef.parquet"
    for name in (unused, "data/interim/notes.txt", "data/processed/mine/notes.txt"):
        store.write(f"{prefix}/{name}", b"")

    answer = main(project, store, prefix, "run", "data-engineer", KEEP_RUNS="1")
    last = run_name(answer)
    assert f"Removed 2 old run(s), up to {first}: the newest 1 are kept" in answer.stderr
    left = store.objects(prefix)
    remaining = {name.split("/")[2] for name in left if name.startswith("data/processed/")}
    assert remaining == {old["marked"], old["read"], old["going-on"], last, "mine"}
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
    create = (
        "import sys; from runtime.storage import storage; files = storage('data/processed');"
        "print(sum(files.create(f'{n}/run.json', sys.argv[1].encode()) for n in range(20)))"
    )
    environment = {**os.environ, **store.environment, "OUTPUTS": f"{store.scheme}://lab/{prefix}"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", create, name],
            cwd=project.path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    numbers = [int(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(numbers) == 20
    owners = [content.decode() for content in store.objects(prefix).values()]
    assert [owners.count("one"), owners.count("other")] == numbers


def test_what_is_sent_in_parts_comes_back_whole(
    s3: Store, prefix: str, bake: Bake, run: Run
) -> None:
    twice = (
        "from runtime.storage import storage; files, content = storage('models'), b'1' * 10**7;"
        "files.put('large', content); assert files.get('large') == content"
    )
    settings = {**s3.environment, "OUTPUTS": f"s3://lab/{prefix}"}
    answer = run(sys.executable, "-c", twice, cwd=bake().path, **settings)
    assert answer.returncode == 0, answer.stderr
    assert [len(content) for content in s3.objects(prefix).values()] == [10**7]


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_damaged_object_is_refused_by_name(
    store: Store, prefix: str, bake: Bake, main: Main
) -> None:
    project = bake()
    run = run_name(main(project, store, prefix))
    model = f"models/{run}/train_model.skops"
    split = f"data/processed/{run}/split_data.parquet"
    for name in (model, split):
        store.write(f"{prefix}/{name}", store.objects(prefix)[name][:-1])
    address = f"{store.scheme}://lab/{prefix}"
    line = sentence(main(project, store, prefix, *PREDICT), 2)
    assert line == f"Error: {address}/{model} is damaged: run its flow again."
    answer = main(project, store, prefix, "run", "data-science")
    assert answer.returncode == 2
    wanted = f"Error: {address}/{split} is damaged: run its flow again."
    assert answer.stderr.splitlines()[-1] == wanted
    # Nor is a damaged output taken from the cache: it is computed again.
    [cached] = [name for name in store.objects(prefix) if re.match(r"data/interim/enc", name)]
    store.write(f"{prefix}/{cached}", b"damaged")
    answer = main(project, store, prefix, "run", "data-engineer")
    run_name(answer)
    assert re.search(r"'encode_categorical_columns-\w+' - Finished in state Comp", answer.stderr)


# ---- what is wrong is named before anything runs


def test_a_bucket_that_does_not_exist_is_named(store: Store, bake: Bake, main: Main) -> None:
    outputs = f"{store.scheme}://no-such-bucket/iris"
    line = sentence(main(bake(), store, "", OUTPUTS=outputs), 2)
    assert line.startswith(f"Error: {outputs} cannot be used: The specified bucket does not exist")
    assert line.endswith(": create the bucket, or correct its address.")


def test_a_key_that_is_refused_is_named(store: Store, bake: Bake, main: Main) -> None:
    line = sentence(main(bake(), store, "iris", **store.refused_settings()), 2)
    assert line.startswith(f"Error: {store.scheme}://lab/iris cannot be used: ")
    assert re.search(r"The access key ID you provided|Invalid JWT signature", line)
    assert re.search(r": see whether (AWS_ACCESS_KEY_ID|you are logged in)", line)


def test_a_key_that_cannot_be_read_is_named(
    gcs: Store, bake: Bake, main: Main, tmp_path: Path
) -> None:
    project, key = bake(), tmp_path / "key.json"
    settings = {"GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    line = sentence(main(project, gcs, "iris", *PREDICT, **settings), 2)
    assert f"{key}: No such file or directory: see whether you are logged in" in line
    key.write_text(json.dumps({"type": "service_account", "private_key": gcs.secret}), "utf-8")
    line = sentence(main(project, gcs, "iris", *PREDICT, **settings), 2)
    assert "missing field `private_key_id`: see whether you are logged in" in line


def test_a_missing_key_is_named(s3: Store, bake: Bake, main: Main) -> None:
    # A machine of Amazon's would give one at this address.
    machine = {"AWS_METADATA_ENDPOINT": f"http://127.0.0.1:{free_port()}", "AWS_ACCESS_KEY_ID": ""}
    line = sentence(main(bake(), s3, "iris", *PREDICT, **machine), 2)
    assert ": see whether AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in line


def test_a_store_that_does_not_answer_is_named(store: Store, bake: Bake, main: Main) -> None:
    line = sentence(main(bake(), store, "iris", *PREDICT, **store.settings(free_port())), 1)
    assert line == (
        f"Error: {store.scheme}://lab/iris/models cannot be used: Connection refused: see whether "
        "it is reached from here."
    )


def test_keys_are_found_in_the_home_folder(
    s3: Store, prefix: str, bake: Bake, main: Main, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    keys = f"aws_access_key_id = {KEY}\naws_secret_access_key = {s3.secret}\n"
    text = f"[default]\naws_access_key_id = NOBODY\naws_secret_access_key = no\n[lab]\n{keys}"
    (tmp_path / ".aws" / "credentials").write_text(text, encoding="utf-8")
    (tmp_path / ".aws" / "config").write_text("[profile lab]\nregion = sa-east-1\n", "utf-8")
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    home |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    project = bake()
    line = sentence(main(project, s3, prefix, *PREDICT, **home), 2)
    assert "The access key ID you provided does not exist" in line
    line = sentence(main(project, s3, prefix, *PREDICT, **home, AWS_PROFILE="lab"), 2)
    assert line.startswith("Error: There is no model yet")  # so the bucket answers


# ---- a connection that is cut

SPLIT = re.compile(rb"split(_|%5F)data(\.|%2E)parquet")  # as it is in an address


@pytest.fixture
def wire(store: Store) -> Iterator[Wire]:
    wire = Wire(store.port)
    yield wire
    wire.close()


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_connection_that_is_cut_once_is_not_noticed(
    store: Store, prefix: str, wire: Wire, bake: Bake, main: Main
) -> None:
    wire.cut_at = SPLIT
    answer = main(bake(), store, prefix, "run", "data-engineer", **store.settings(wire.port))
    assert facts(store, prefix, run_name(answer))["state"] == "Completed"
    assert wire.cuts == 1


@pytest.mark.parametrize("store", ["gcs"], indirect=True)
def test_a_connection_that_is_cut_for_good_fails_the_run_and_loses_nothing(
    store: Store, prefix: str, wire: Wire, bake: Bake, main: Main
) -> None:
    project, settings = bake(), store.settings(wire.port)
    good = run_name(main(project, store, prefix, "run", "data-engineer", **settings))
    before = store.objects(prefix)
    wire.cut_at, wire.for_good = SPLIT, True
    answer = main(project, store, prefix, "run", "data-engineer", **settings)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    line = answer.stderr.splitlines()[-1]
    assert re.match(rf"Error: {store.scheme}://lab/{prefix}/data/processed cannot be used: ", line)
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
    run_name(answer)
    assert facts(store, prefix, cut)["state"] == "Crashed"
