"""Whose errors go together, and how much: variance components of what a law leaves."""
