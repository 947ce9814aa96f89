from datetime import date

from lending.calendar import Calendar
from lending.errors import InvalidValue
from lending.fines import FineRules
from lending.records import Loan

rules, loan = FineRules(Calendar()), Loan(1, 1, 1, date(2024, 5, 6), date(2024, 5, 27))
assert rules.fine(loan, "normal", date(2025, 5, 27)) == 1000
assert rules.fine(loan, "student", date(2025, 5, 27)) == 500
assert rules.fine(loan, "staff", date(2025, 5, 27)) == 0
assert rules.fine(loan, "student", date(2024, 6, 3)) == 50
assert rules.fine(loan, "student", date(2024, 7, 24)) == 490
assert FineRules(Calendar(), most=333).fine(loan, "student", date(2025, 5, 27)) == 166
try:
    rules.fine(loan, "king", date(2025, 5, 27))
except InvalidValue:
    pass
else:
    raise AssertionError("an unknown level was not refused")
