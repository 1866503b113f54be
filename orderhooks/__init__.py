"""Signed, durable order webhooks for Django stores."""

__version__ = "0.1.0"
