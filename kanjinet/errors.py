"""The one exception that a user is meant to read."""


class KanjinetError(Exception):
    """Something a user can put right: one line that names the file, the value and the remedy."""
