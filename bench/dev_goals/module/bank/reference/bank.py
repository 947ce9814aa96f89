class InsufficientFunds(Exception):
    pass


class Account:
    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance
        self.history = []

    def _change(self, amount):
        self.balance += amount
        self.history.append(amount)

    def deposit(self, amount):
        if amount <= 0:
            raise ValueError("the amount must be positive")
        self._change(amount)

    def withdraw(self, amount):
        if amount <= 0:
            raise ValueError("the amount must be positive")
        if amount > self.balance:
            raise InsufficientFunds(f"{amount} is more than {self.balance}")
        self._change(-amount)

    def transfer(self, other, amount):
        self.withdraw(amount)
        other.deposit(amount)
