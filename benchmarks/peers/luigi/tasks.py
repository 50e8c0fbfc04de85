"""So many trivial tasks for one worker; each leaves a file, the only record that Luigi keeps."""

import sys

import luigi


class One(luigi.Task):
    """A trivial task."""

    number = luigi.IntParameter()

    def output(self):
        """Return its file."""
        return luigi.LocalTarget(f"data/tasks/{self.number}")

    def run(self):
        """Write its file."""
        with self.output().open("w") as file:
            file.write(str(self.number))


if __name__ == "__main__":
    tasks = [One(number) for number in range(int(sys.argv[1]))]
    if not luigi.build(tasks, local_scheduler=True, log_level="INFO"):
        raise SystemExit(1)
