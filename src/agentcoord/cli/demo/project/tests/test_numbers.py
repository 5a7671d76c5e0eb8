"""Tracking numbers: check digits, shapes, mistyped ones."""

import unittest

from parcel.errors import InvalidInput
from parcel.numbers import check_digit, make_number, parse_number


class CheckDigits(unittest.TestCase):
    def test_the_example_of_the_standard_has_check_digit_nine(self):
        self.assertEqual(check_digit("47312482"), 9)

    def test_a_rest_of_ten_becomes_zero_and_a_rest_of_eleven_five(self):
        by_rest = {check_digit(f"{n:08d}") for n in range(200)}
        self.assertEqual(by_rest, set(range(10)))

    def test_every_single_wrong_digit_is_noticed(self):
        number = make_number(47312482, "GB")
        for place in range(2, 10):
            wrong = str((int(number[place]) + 1) % 10)
            with self.subTest(place=place), self.assertRaises(InvalidInput):
                parse_number(number[:place] + wrong + number[place + 1 :])


class Parsing(unittest.TestCase):
    def test_spaces_and_small_letters_do_not_matter(self):
        self.assertEqual(parse_number("rr 4731 2482 9 gb"), "RR473124829GB")

    def test_something_else_is_refused(self):
        for text in ("", "RR47312482GB", "4731248295", "RR473124829GBX"):
            with self.subTest(text=text), self.assertRaises(InvalidInput):
                parse_number(text)

    def test_serials_have_at_most_eight_digits(self):
        with self.assertRaises(InvalidInput):
            make_number(100_000_000, "ES")


if __name__ == "__main__":
    unittest.main()
