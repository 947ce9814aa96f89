"""What can be wrong with a site."""


class PagesError(Exception):
    """Something in the source cannot be used; the message names the file where it is known."""


class HeadError(PagesError):
    """A head cannot be read."""


class TemplateError(PagesError):
    """A template uses a name that is not there."""
