"""Settings and places: TOML, environment and flags in, frozen sections out.

The only room that reads the environment. Import `agentcoord.config.paths` directly where
start-up time matters.
"""

from agentcoord.config.load import load_settings, read_settings, settings_table
from agentcoord.config.sections import Settings

__all__ = ["Settings", "load_settings", "read_settings", "settings_table"]
