"""Lutra."""
