"""A decoder-only transformer on bytes and pixels."""
