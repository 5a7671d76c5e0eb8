"""Runs recurring jobs: fetch rates, look for late shipments, write the daily report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from parcel.errors import InvalidInput
from parcel.tracking import utc_now


@dataclass
class Job:
    """Something to do again and again."""

    name: str
    run: Callable[[], None]
    every: timedelta
    next_run: datetime


class Scheduler:
    """Knows its jobs and runs those that are due; somebody else calls it now and then."""

    def __init__(self, now: Callable[[], datetime] = utc_now):
        self._now = now
        self._jobs: dict[str, Job] = {}

    def add(self, name: str, run: Callable[[], None], every: timedelta) -> Job:
        """Add a job; it is due at once."""
        if name in self._jobs:
            raise InvalidInput(f"there is a job {name!r} already")
        if every <= timedelta(0):
            raise InvalidInput(f"job {name!r} needs a positive interval")
        job = Job(name, run, every, self._now())
        self._jobs[name] = job
        return job

    def due(self) -> list[Job]:
        """Return the jobs whose time has come, in the order in which they were added."""
        now = self._now()
        return [job for job in self._jobs.values() if job.next_run <= now]

    def run_pending(self) -> list[str]:
        """Run what is due; return the names of the jobs that ran."""
        ran = []
        for job in self.due():
            job.run()
            job.next_run = self._now() + job.every
            ran.append(job.name)
        return ran

    def next_wake(self) -> datetime | None:
        """Return when the next job is due; None without jobs."""
        return min((job.next_run for job in self._jobs.values()), default=None)
