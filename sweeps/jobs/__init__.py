"""What a trial does, and where a sweep's jobs come from."""
