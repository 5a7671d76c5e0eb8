"""Track shipments, price them, and ask carriers for rates."""

__version__ = "0.4.0"
