"""The one exception a user may see."""


class UserError(ValueError):
    """Something the user gave can't be used.

    The message is a whole sentence (or two) that says what happened and what to do. The page shows it as a message,
    the command line prints it on one line and exits with 2.
    """
