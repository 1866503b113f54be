"""No thumbnails: the articles of the demo have no pictures, and nothing that makes thumbnails has to be installed."""

from typing import Any

from oscar.core.thumbnails import AbstractThumbnailer


class NoThumbnails(AbstractThumbnailer):  # type: ignore[misc]
    def generate_thumbnail(self, source: Any, **opts: Any) -> Any:
        return source

    def delete_thumbnails(self, source: Any) -> None:
        pass
