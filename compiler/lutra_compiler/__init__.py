"""The Lutra compiler: a trained network in, C for a microcontroller out."""

__version__ = "0.1.0"
