"""What all resources of the API share: errors, pages, rate limits, ETags, idempotency keys, history."""
