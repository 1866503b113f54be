"""Formats: how the body of a request is written. `shaping` encodes with them, the receiver kit reads them.

`outgoing` has what a format gets and the class that a store derives its own from. `plain`, `cloud_events`, `form` and
`chat` have the built-in formats, `registry` finds one by its name.
"""

from orderhooks.formats.form import CONTENT_TYPE as FORM
from orderhooks.formats.form import FormText, decode_form, readable_form
from orderhooks.formats.outgoing import Format, OutgoingEvent
from orderhooks.formats.registry import (
    BUILT_IN,
    STANDARD,
    UnknownFormatError,
    asks_consent,
    choices,
    fault_of,
    get,
    names,
)

__all__ = [
    "BUILT_IN",
    "FORM",
    "STANDARD",
    "FormText",
    "Format",
    "OutgoingEvent",
    "UnknownFormatError",
    "asks_consent",
    "choices",
    "decode_form",
    "fault_of",
    "get",
    "names",
    "readable_form",
]
