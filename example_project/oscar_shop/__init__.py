"""The second flavour of the example: a shop on django-oscar, whose orders reach the same receivers."""
