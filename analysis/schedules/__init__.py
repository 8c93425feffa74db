"""Exponents protocol by protocol, from a schedule study."""
