"""How all tests are run: nothing is timed, so that a busy machine fails none of them."""

from hypothesis import settings

settings.register_profile("treadle", deadline=None)
settings.load_profile("treadle")
