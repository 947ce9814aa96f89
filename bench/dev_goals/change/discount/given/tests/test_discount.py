from datetime import date

from lending.calendar import Calendar
from lending.fines import FineRules
from lending.records import Loan


def test_discount_is_taken_after_the_most():
    loan = Loan(1, 1, 1, date(2024, 5, 6), date(2024, 5, 27))
    assert FineRules(Calendar()).fine(loan, "student", date(2025, 5, 27)) == 500
