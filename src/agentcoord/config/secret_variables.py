"""Which variables of the environment hold a secret: cut out of logs, and shown to no command."""

from __future__ import annotations

from collections.abc import Mapping

SECRET_VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_AWS_API_KEY",
    "ANTHROPIC_FOUNDRY_API_KEY",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)


def secrets_of(env: Mapping[str, str]) -> list[str]:
    """The secrets themselves, as far as they are set."""
    return [env[name] for name in SECRET_VARIABLES if env.get(name)]
