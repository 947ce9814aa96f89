import re
from collections import Counter


def _words(text):
    return re.findall(r"[A-Za-z0-9']+", text)


def count_words(text):
    return len(_words(text))


def most_common(text, n):
    counts = Counter(word.lower() for word in _words(text))
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:n]


def average_length(text):
    words = _words(text)
    return round(sum(map(len, words)) / len(words), 2) if words else 0


def count_sentences(text):
    return len([part for part in re.split(r"[.!?]+", text) if part.strip()])
