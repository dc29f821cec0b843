"""Request lifecycle that all routes share: exchange, idempotency, paging, ETags, rate limits and egress."""
