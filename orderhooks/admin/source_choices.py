"""Whether the lists offer a choice of order sources: only where a project has several."""

from collections.abc import Sequence
from typing import Any

from orderhooks import sources

SOURCE_PARAMETER = "source"


def has_several_sources() -> bool:
    """Whether the project has more than one order source."""
    return len(sources.names()) > 1


def without_sole_choices(filters: Sequence[Any]) -> list[Any]:
    """The filters, without the one of sources if the project has only one source."""
    if has_several_sources():
        return list(filters)
    return [one for one in filters if getattr(one, "parameter_name", "") != SOURCE_PARAMETER]
