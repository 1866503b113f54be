"""The API's OpenAPI 3.1 document, and the pages that show it. They need drf-spectacular: the extra `openapi`.

`generator`, `auto_schema` and `views` import drf-spectacular, and only `routes` imports them, if it is installed.
"""
