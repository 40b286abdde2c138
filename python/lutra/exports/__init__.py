"""A bundle as a project for the build systems that firmware is made with."""

from lutra.exports.project import KINDS, Export, export_bundle

__all__ = ["KINDS", "Export", "export_bundle"]
