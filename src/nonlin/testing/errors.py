"""What a failed check raises."""

from nonlin.errors import NonlinError


class CheckError(NonlinError, AssertionError):
    """Something of the user's own does not keep the contract. Also an AssertionError, for pytest."""


def expect(holds: object, message: str) -> None:
    """CheckError with `message` unless `holds`."""
    if not holds:
        raise CheckError(message)
