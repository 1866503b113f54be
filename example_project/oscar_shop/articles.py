"""What Oscar's pages search: each search finds all articles, as there are six. A real shop has a search engine."""

from typing import Any

from haystack.backends.simple_backend import SimpleEngine, SimpleSearchBackend
from haystack.models import SearchResult
from oscar.core.loading import get_model


class ArticlesBackend(SimpleSearchBackend):  # type: ignore[misc]
    def search(self, query_string: str, **options: Any) -> dict[str, Any]:
        articles = list(get_model("catalogue", "Product").objects.browsable().order_by("title"))
        found = [SearchResult("catalogue", "product", article.pk, 0) for article in articles]
        for result, article in zip(found, articles, strict=True):
            result._object = article
        first, last = options.get("start_offset") or 0, options.get("end_offset")
        return {"results": found[first:last], "hits": len(found)}


class ArticlesEngine(SimpleEngine):  # type: ignore[misc]
    backend = ArticlesBackend
