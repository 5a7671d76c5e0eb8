"""Settings and places: TOML, environment and flags in, frozen sections out; the only reader of both.

Empty, so that the commands that must answer at once can import `config.paths` alone.
"""
