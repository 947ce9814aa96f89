"""Lists for the staff, as lines of text."""

from lending.fines import shown


def table(heads, rows):
    """Lay out rows below heads, each column as wide as its widest cell."""
    cells = [[str(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def overdue_report(desk, today):
    """List the late loans with what they cost so far."""
    rows = []
    for loan in desk.overdue(today):
        member = desk.members.get(loan.member)
        book = desk.catalog.get(loan.book)
        fine = desk.rules.fine(loan, member.level, today)
        rows.append((member.name, book.title, loan.due.isoformat(), loan.days_late(today), shown(fine)))
    if not rows:
        return ["Nothing is overdue."]
    return table(("member", "book", "due", "days", "fine"), rows)


def popular_report(desk, most=10):
    """List the titles that were lent most often."""
    counts = {}
    for loan in desk.loans:
        counts[loan.book] = counts.get(loan.book, 0) + 1
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    rows = [(desk.catalog.get(number).title, count) for number, count in ranked]
    return table(("book", "loans"), rows) if rows else ["Nothing was lent yet."]


def member_report(desk, member_number, today):
    """Describe the account of a member."""
    member = desk.members.get(member_number)
    lines = [member.label(), f"Level: {member.level}", f"Owes: {shown(desk.owed(member_number, today))}"]
    loans = desk.open_loans(member=member_number)
    lines.append(f"Books: {len(loans)}")
    for loan in loans:
        late = loan.days_late(today)
        note = f", {late} days late" if late else ""
        lines.append(f"  {desk.catalog.get(loan.book).title}, due {loan.due.isoformat()}{note}")
    return lines


def stock_report(desk):
    """List all books with their copies and how many of them are there."""
    rows = [(book.number, book.title, book.author, book.copies, desk.available(book.number)) for book in desk.catalog]
    return table(("no", "title", "author", "copies", "there"), rows)


def money_report(desk):
    """Sum up the fines of returned books."""
    fined = sum(loan.fine for loan in desk.loans)
    paid = sum(loan.paid for loan in desk.loans)
    return [f"Fines: {shown(fined)}", f"Paid: {shown(paid)}", f"Open: {shown(fined - paid)}"]
