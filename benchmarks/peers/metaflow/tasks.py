"""A flow of so many trivial tasks, one for each item of a foreach."""

from metaflow import FlowSpec, Parameter, step


class ManyFlow(FlowSpec):
    """Trivial tasks between a start and an end."""

    count = Parameter("count", type=int, default=1)

    @step
    def start(self):
        """Make the list of tasks."""
        self.numbers = list(range(self.count))
        self.next(self.one, foreach="numbers")

    @step
    def one(self):
        """Do nothing to speak of."""
        self.number = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        """Wait for all."""
        self.next(self.end)

    @step
    def end(self):
        """Finish."""


if __name__ == "__main__":
    ManyFlow()
