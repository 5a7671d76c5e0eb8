"""Recurring jobs on a clock that the test moves."""

import unittest
from datetime import UTC, datetime, timedelta

from parcel.errors import InvalidInput
from parcel.scheduler import Scheduler

HOUR = timedelta(hours=1)


class Scheduling(unittest.TestCase):
    def setUp(self):
        self.now = datetime(2026, 3, 2, tzinfo=UTC)
        self.scheduler = Scheduler(now=lambda: self.now)
        self.ran = []

    def add(self, name, every=HOUR):
        self.scheduler.add(name, lambda: self.ran.append(name), every)

    def test_a_new_job_runs_at_once_and_then_not_before_its_time(self):
        self.add("rates")
        self.assertEqual(self.scheduler.run_pending(), ["rates"])
        self.assertEqual(self.scheduler.run_pending(), [])
        self.now += HOUR
        self.assertEqual(self.scheduler.run_pending(), ["rates"])
        self.assertEqual(self.ran, ["rates", "rates"])

    def test_the_next_wake_is_that_of_the_soonest_job(self):
        self.assertIsNone(self.scheduler.next_wake())
        self.add("daily", timedelta(days=1))
        self.add("rates", HOUR)
        self.scheduler.run_pending()
        self.assertEqual(self.scheduler.next_wake(), self.now + HOUR)

    def test_two_jobs_of_one_name_are_refused(self):
        self.add("rates")
        with self.assertRaises(InvalidInput):
            self.add("rates")

    def test_an_interval_is_positive(self):
        with self.assertRaises(InvalidInput):
            self.add("rates", timedelta(0))


if __name__ == "__main__":
    unittest.main()
