"""The API's OpenAPI 3.1 document and the pages that show it, by drf-spectacular: the extra `openapi`.

`routes` is all that the API's addresses import; without the extra nothing else of this folder is.
"""
