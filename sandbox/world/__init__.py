"""A ConsultantPro world: rows of the application's tables and objects in S3, for tests and the demo."""

from sandbox.world.builder import World

__all__ = ["World"]
