"""Fixtures of the acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from night_kit import Night, night


@pytest.fixture
def a_night() -> Iterator[Night]:
    """A small committed project with nothing running yet."""
    with night() as made:
        made.make_project()
        yield made
