"""The check of lesson 10: when the deployment runs in the year to come, and what such a run does."""

import asyncio
import re
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect.client.schemas.responses import DeploymentResponse
from prefect.server.schemas.schedules import SCHEDULE_TYPES
from pydantic import TypeAdapter

from lessons.workshop.exercise import Exercise, a_table, expect

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
AT = time(7, 30)


def test_the_deployment_runs_each_working_day_and_never_twice_at_once(exercise: Exercise) -> None:
    table = a_table()
    table.to_csv(Path("data", "raw", "iris.csv"), index=False)
    with exercise.serving() as served:
        named = {one.name: one for one in served.deployments}
        expect("every-morning" in named, "other_name", name=", ".join(named))
        deployment = named["every-morning"]
        expect(deployment.schedules, "no_schedule")
        active = [one for one in deployment.schedules if one.active and not deployment.paused]
        expect(active, "paused")
        _expect_working_days(_dates(deployment))
        limit = deployment.global_concurrency_limit
        expect(limit and limit.active and limit.limit == 1, "overlap")
        run = served.run(deployment, **active[0].parameters)
    expect(run.state == "Completed", "not_completed", state=run.state)
    said = re.findall(r"(\d+) rows to train, (\d+) to test", "\n".join(run.logs))
    expect(said, "says_nothing")
    train, test = map(int, said[-1])
    expect(train + test == len(table), "other_rows", rows=train + test, all=len(table))
    expect(abs(test - 0.2 * len(table)) <= 1, "other_ratio", rows=test, all=len(table))


def _dates(deployment: DeploymentResponse) -> list[datetime]:
    """Return when Prefect's scheduler would start a run within a year, in each schedule's zone."""
    begin = datetime.combine(datetime.now(SAO_PAULO), time(), SAO_PAULO) + timedelta(days=1)
    end = begin + timedelta(days=365, minutes=-1)
    dates: list[datetime] = []
    for one in deployment.schedules:
        if one.active:
            known = TypeAdapter(SCHEDULE_TYPES).validate_python(one.schedule.model_dump())
            dates += asyncio.run(known.get_dates(start=begin, end=end))
    return sorted(dates)


def _expect_working_days(dates: list[datetime]) -> None:
    for when in dates:
        here = when.astimezone(SAO_PAULO)
        values = {
            "day": here.date(),
            "time": f"{here:%H:%M:%S}".removesuffix(":00"),
            "zone": when.tzname(),
        }
        if here.time() != AT:
            expect(when.time() != AT, "other_zone", **values)
            expect(False, "other_time", **values)
        expect(here.weekday() < 5, "weekend", **values)
        # Brazil had a summer time until 2019. The hour has to be right should it come back.
        summer = when.replace(year=2018, month=1, day=15).astimezone(SAO_PAULO)
        expect(summer.time() == AT, "summer_time", then=f"{summer:%H:%M}", **values)
    days = [when.astimezone(SAO_PAULO).date() for when in dates]
    first = datetime.now(SAO_PAULO).date() + timedelta(days=1)
    for day in (first + timedelta(days=number) for number in range(365)):
        if day.weekday() < 5:
            expect(day in days, "left_out", day=day)
            expect(days.count(day) == 1, "twice", day=day)
