"""Drivers: in what the two drivers of PostgreSQL that Django supports differ."""

from typing import Any

__all__ = ["is_psycopg3"]


def is_psycopg3(connection: Any) -> bool:
    """Whether a connection of Django's talks to PostgreSQL by psycopg 3. The other driver is psycopg 2."""
    return bool(connection.vendor == "postgresql" and connection.Database.__name__ == "psycopg")
