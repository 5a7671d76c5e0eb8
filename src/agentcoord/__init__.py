"""AgentCoord: a night shift for a repository."""

__version__ = "0.1.0"
