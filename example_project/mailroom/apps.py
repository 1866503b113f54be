"""The app's name."""

from django.apps import AppConfig


class MailroomConfig(AppConfig):
    name = "mailroom"
