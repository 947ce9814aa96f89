from duration import human_duration as say

assert say(62) == "1 minute and 2 seconds"
assert say(3662) == "1 hour, 1 minute and 2 seconds"
assert say(0) == "0 seconds"
assert say(1) == "1 second"
assert say(3600) == "1 hour"
assert say(86400) == "1 day"
assert say(2 * 86400 + 5) == "2 days and 5 seconds"
assert say(90061) == "1 day, 1 hour, 1 minute and 1 second"
assert say(7325) == "2 hours, 2 minutes and 5 seconds"
try:
    say(-1)
except ValueError:
    pass
else:
    raise AssertionError("-1 was not refused")
