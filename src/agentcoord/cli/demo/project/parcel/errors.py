"""What can go wrong, as exceptions with one root."""


class ParcelError(Exception):
    """Root of everything this package raises on purpose."""


class InvalidInput(ParcelError):
    """A value from outside (address, size, number, setting) does not make sense."""


class NotFound(ParcelError):
    """There is no shipment with this number."""

    def __init__(self, number):
        super().__init__(f"no shipment {number}")
        self.number = number


class IllegalStep(ParcelError):
    """A shipment cannot go from its status to the one asked for."""

    def __init__(self, number, current, wanted):
        super().__init__(f"{number} is {current}: it cannot become {wanted}")
        self.number = number
        self.current = current
        self.wanted = wanted
