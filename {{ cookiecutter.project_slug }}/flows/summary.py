"""What a person is told at the end of a run."""

import json

from flows import ROOT
from flows.server import Server


def summary(run: str, server: Server) -> str:
    """Return a few lines: accuracy, where each output of `run` lies, how to see it in Prefect."""
    rows = []
    facts = ROOT / "data" / "processed" / run / "run.json"
    if facts.exists():
        accuracy = json.loads(facts.read_text(encoding="utf-8")).get("accuracy")
        if accuracy is not None:
            rows.append(("Accuracy", f"{accuracy:.2%} of the test set"))
    for name, place in (
        ("Checkpoints", f"data/processed/{run}"),
        ("Model", f"models/{run}/train_model.skops"),
        ("Report", f"reports/{run}/report.html"),
    ):
        if (ROOT / place).exists():
            rows.append((name, place))
    here = "python main.py ui" if server.process else server.ui_url
    rows.append(("Dashboard", here))
    return "\n" + "\n".join(f"{name:<12} {value}" for name, value in rows)
