"""The command, called in this process."""

import contextlib
import io
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from parcel.cli import main

MADRID = "Ana Ruiz; Calle Mayor 3; 28013 Madrid; ES"
OSLO = "Jo Lund; Storgata 7; 0155 Oslo; NO"


class Commands(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        environment = mock.patch.dict(os.environ, {"PARCEL_DATABASE": str(Path(folder.name) / "parcel.db")})
        environment.start()
        self.addCleanup(environment.stop)

    def run_main(self, *argv):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
        return code, out.getvalue().strip(), err.getvalue().strip()

    def add(self):
        _, number, _ = self.run_main(
            "add", "--from", MADRID, "--to", OSLO, "--weight", "1200", "--size", "30x20x10"
        )
        return number

    def test_add_prints_the_new_number(self):
        self.assertEqual(self.add(), "RR000000014ES")

    def test_list_shows_number_status_route_and_weight(self):
        self.add()
        self.assertEqual(self.run_main("list"), (0, "RR000000014ES  created     ES -> NO   1200 g", ""))

    def test_list_says_when_there_is_nothing(self):
        self.assertEqual(self.run_main("list"), (0, "no shipments", ""))

    def test_show_tells_what_happened(self):
        number = self.add()
        self.run_main("advance", number, "accepted", "--note", "at the counter")
        code, text, _ = self.run_main("show", number)
        self.assertEqual(code, 0)
        self.assertIn("accepted  at the counter", text)

    def test_a_step_that_is_not_possible_is_an_error_in_words(self):
        code, _, err = self.run_main("advance", self.add(), "delivered")
        self.assertEqual((code, err), (1, "parcel: RR000000014ES is created: it cannot become delivered"))


if __name__ == "__main__":
    unittest.main()
