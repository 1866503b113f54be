"""No thumbnails: the articles of the demo have no pictures, and nothing that makes thumbnails has to be installed."""

from dataclasses import dataclass
from typing import Any

from django.templatetags.static import static
from oscar.core.thumbnails import AbstractThumbnailer


@dataclass(frozen=True)
class Picture:
    """What Oscar's templates use of a picture."""

    url: str


class NoThumbnails(AbstractThumbnailer):  # type: ignore[misc]
    def generate_thumbnail(self, source: Any, **opts: Any) -> Picture:
        return Picture(static("oscar/img/image_not_found.jpg"))

    def delete_thumbnails(self, source: Any) -> None:
        pass
