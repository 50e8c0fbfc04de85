"""Serves the flows as the deployments that prefect.yaml describes, from this one terminal."""

import asyncio
import threading
import time
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import prefect
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.schedules import Cron, Interval, Schedule
from prefect.server.schemas import schedules
from pydantic import ValidationError
from tzlocal import get_localzone_name

from runtime import settings
from runtime.discovery import find_flows
from runtime.errors import UserError
from runtime.notifications import notify_of_failed_starts
from runtime.runs import mark_killed_runs

SCHEDULED = "main-flow"
# A run that comes due while another is running is cancelled: runs never overlap or pile up.
ONE_AT_A_TIME = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
)
KILLED_EVERY_SECONDS = 5  # between two searches for killed runs
LOOK_EVERY_SECONDS = 1  # for runs that are due; Prefect's 10 is long for a "Quick run"


def read_schedule(every: int | None, cron: str | None, timezone: str | None) -> Schedule | None:
    """Return the schedule for `main-flow`, or None where none is asked for.

    `every` is in seconds; `timezone` goes with `cron`, by default this machine's. Raises
    `UserError` for `every` with `cron`, an interval under a second, and a bad cron or time zone.
    """
    if every is not None and cron is not None:
        raise UserError("Give --every or --cron, not both.")
    if every is not None:
        if every < 1:
            raise UserError(f"--every {every} is not allowed, it is a number of seconds from 1 on.")
        return Interval(timedelta(seconds=every))
    if cron is None:
        return None
    timezone = timezone or _timezone_of_machine()
    try:
        CronSchedule(cron=cron, timezone=timezone)
        [first] = asyncio.run(schedules.CronSchedule(cron=cron, timezone=timezone).get_dates(1))
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"--{problem['loc'][0]} {problem['input']!r}: {problem['msg']}.") from None
    except ValueError:  # croniter's, which Prefect uses
        raise UserError(f"--cron {cron!r} never comes: there is no such day.") from None
    print(f"Schedule: {cron} in {timezone}, next {first:%Y-%m-%d %H:%M}", flush=True)
    return Cron(cron, timezone=timezone)


def _timezone_of_machine() -> str:
    """Return the name of this machine's time zone; raise `UserError` where it has none.

    TZ=BRT3, for instance, sets the clock without a name; tzlocal then returns another time zone.
    """
    name, now = get_localzone_name(), datetime.now(UTC)
    if name and now.astimezone(ZoneInfo(name)).utcoffset() == now.astimezone().utcoffset():
        return name
    raise UserError(
        "The name of this machine's time zone is not known: give --timezone, such as "
        "America/Sao_Paulo."
    )


def _look_for_killed(since: datetime) -> None:
    """Mark killed runs and send messages about them, as long as this process lives."""
    while True:
        time.sleep(KILLED_EVERY_SECONDS)
        with suppress(Exception):  # the server may be busy: the next round asks again
            mark_killed_runs()
            notify_of_failed_starts(since)


def serve_flows(schedule: Schedule | None) -> None:
    """Serve the deployments of prefect.yaml and all other flows, until Ctrl-C.

    The schedule is a deployment of its own: it never cancels a run that a person starts.
    """
    text = (settings.ROOT / "prefect.yaml").read_text(encoding="utf-8")
    project = yaml.safe_load(text)
    described = [*project["deployments"]]
    schedule_name = f"{project['name']}-schedule"
    tags = [tag for each in described for tag in each.get("tags", [])][:1]  # the project's name
    known = {each["entrypoint"] for each in described}
    others = [flow.entrypoint for flow in find_flows().values() if flow.entrypoint not in known]
    described += [{"entrypoint": each, "name": project["name"], "tags": tags} for each in others]
    deployments: list[Any] = []
    on_schedule: list[Any] = []
    for each in described:
        flow: Flow[..., str] = load_flow_from_entrypoint(each["entrypoint"])
        about: dict[str, Any] = {key: each.get(key) for key in ("description", "tags")}
        deployments.append(flow.to_deployment(name=each["name"], **about))
        if schedule is not None and flow.name == SCHEDULED:
            about |= {"schedule": schedule, "concurrency_limit": ONE_AT_A_TIME}
            on_schedule = [flow.to_deployment(name=schedule_name, **about)]

    # Delete an earlier schedule; if it was killed during a run, this frees the run's slot, too.
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        earlier = client.read_deployment_by_name(f"{SCHEDULED}/{schedule_name}")
        client.delete_deployment(earlier.id)
    threading.Thread(target=_look_for_killed, args=[datetime.now(UTC)], daemon=True).start()
    # Prefect would submit a run ten seconds before it is due: it would count as running, and a run
    # that is due meanwhile would be cancelled.
    waiting: Any = nullcontext()
    if settings.warm():
        from runtime.server.warm import waiting_process  # its imports exist on Linux only

        waiting = waiting_process()
    with waiting:
        prefect.serve(
            *deployments, *on_schedule, query_seconds=LOOK_EVERY_SECONDS, prefetch_seconds=0
        )
