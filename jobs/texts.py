"""How numbers read in messages."""


def pluralize(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun.

    >>> pluralize(1, "job"), pluralize(2000, "job"), pluralize(3, "batch", "batches")
    ('1 job', '2,000 jobs', '3 batches')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
