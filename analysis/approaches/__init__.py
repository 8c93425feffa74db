"""Hoffmann's three approaches, and the law's surface behind the third."""
