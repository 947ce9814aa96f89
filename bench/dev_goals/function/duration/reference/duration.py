def human_duration(seconds):
    if seconds < 0:
        raise ValueError("seconds must not be negative")
    parts = []
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    if not parts:
        return "0 seconds"
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
