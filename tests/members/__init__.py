"""A project's own kind of user."""
