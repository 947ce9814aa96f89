from bank import Account, InsufficientFunds


def refused(kind, call, *args):
    try:
        call(*args)
    except kind:
        return True
    return False


ann, bob = Account("Ann", 1000), Account("Bob")
assert (ann.owner, ann.balance, bob.balance) == ("Ann", 1000, 0)
ann.deposit(500)
ann.withdraw(200)
assert ann.balance == 1300 and ann.history == [500, -200], ann.history
ann.transfer(bob, 300)
assert (ann.balance, bob.balance) == (1000, 300) and ann.history == [500, -200, -300] and bob.history == [300]
assert refused(InsufficientFunds, ann.withdraw, 1001) and refused(InsufficientFunds, bob.transfer, ann, 301)
assert (ann.balance, bob.balance) == (1000, 300) and bob.history == [300] and ann.history == [500, -200, -300]
assert all(refused(ValueError, call, amount) for call in (ann.deposit, ann.withdraw) for amount in (0, -5))
ann.withdraw(1000)
assert ann.balance == 0 and issubclass(InsufficientFunds, Exception)
assert Account("Cy").history == [] and Account("Cy").history is not Account("Di").history
