"""`python -m lutra`, which torchrun can start as well."""

from lutra.cli import main

main()
