"""Lists of texts: by date, by tag, by year."""

from datetime import date

_OLDEST = date.min


def by_date(texts):
    """Sort texts, the newest first; those without a date come last, by title."""
    return sorted(texts, key=lambda text: (-(text.date or _OLDEST).toordinal(), text.title.lower()))


def by_tag(texts):
    """Return the texts of each tag, tags in the order of the alphabet, texts by date."""
    tags = sorted({tag for text in texts for tag in text.tags})
    return {tag: by_date([text for text in texts if tag in text.tags]) for tag in tags}


def by_year(texts):
    """Return the texts of each year, the newest year first. Texts without a date are left out."""
    years = sorted({text.date.year for text in texts if text.date}, reverse=True)
    return {year: by_date([text for text in texts if text.date and text.date.year == year]) for year in years}


def neighbours(texts, text):
    """Return the text before and the one after a text by date, None at the ends."""
    dated = [other for other in by_date(texts) if other.date]
    if text not in dated:
        return None, None
    place = dated.index(text)
    newer = dated[place - 1] if place else None
    older = dated[place + 1] if place + 1 < len(dated) else None
    return older, newer


def related(texts, text, most=3):
    """List the texts that share most tags with a text."""
    others = [(len(set(other.tags) & set(text.tags)), other) for other in texts if other is not text]
    ranked = sorted((pair for pair in others if pair[0]), key=lambda pair: (-pair[0], pair[1].title))
    return [other for _, other in ranked[:most]]
