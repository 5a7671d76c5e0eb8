"""Which of the SDK's clients is made, and of what: for Anthropic, for clouds, for a server of one's own.

Separate from the model that calls, which is the same for all of them. Together these two are the only home
of `anthropic`. A cloud's client finds its credentials as that cloud's tools do, in the environment and the
files of the person who runs the daemon; we hand on what our settings name, and nothing else. Deliberately
absent: prices by cloud; a model's name there needs a price of its own in the price file.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from agentcoord.errors import LlmAuthError, LlmRequestError
from agentcoord.llm.api import Provider, StreamTimeouts
from agentcoord.values import dataclass

if TYPE_CHECKING:
    import anthropic

    SdkClient: TypeAlias = (
        anthropic.AsyncAnthropic
        | anthropic.AsyncAnthropicBedrock
        | anthropic.AsyncAnthropicBedrockMantle
        | anthropic.AsyncAnthropicVertex
    )

_DEFAULT_BASE_URL = "https://api.anthropic.com"
_UNNEEDED_KEY = "unneeded"
"""Sent to a server of the user's own when no key is configured: the SDK insists on one."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the models are, and by what right they are called. Empty texts are as good as None."""

    provider: Provider = Provider.ANTHROPIC
    api_key: str | None = None
    """Wins over `auth_token`."""
    auth_token: str | None = None
    base_url: str | None = None
    """None: the provider's own."""
    region: str | None = None
    """Of AWS or Vertex; None: as their tools find it."""
    project: str | None = None
    """Vertex's project, or Foundry's resource."""


def client_maker(access: Access, timeouts: StreamTimeouts) -> Callable[[], SdkClient]:
    """Check what was configured, and return what makes the client (slow: to be run in a thread).

    Raises LlmAuthError without any way to authenticate at Anthropic, LlmRequestError when the base URL is
    no HTTP URL or a cloud's extra packages are missing. What is returned raises the same when a cloud's
    client cannot be made of what is there.
    """
    if access.provider is Provider.ANTHROPIC:
        access = _for_anthropic(access)
    on_loopback = _is_on_loopback(access.base_url) if access.base_url else False
    if access.provider is Provider.BEDROCK and importlib.util.find_spec("botocore") is None:
        raise _missing("bedrock", "aws")
    if access.provider is Provider.VERTEX and not access.auth_token and not _has_google_auth():
        raise _missing("vertex", "vertex")

    def make() -> SdkClient:
        import anthropic
        import httpx2

        common: dict[str, Any] = {
            "max_retries": 0,
            "timeout": httpx2.Timeout(timeouts.between_events_s, connect=timeouts.connect_s),
            # An explicit plain transport: the SDK applies proxies of the environment to loopback too.
            "http_client": httpx2.AsyncClient(trust_env=False, limits=anthropic.DEFAULT_CONNECTION_LIMITS)
            if on_loopback
            else None,
        }
        try:
            return _made(access, common)
        except (anthropic.AnthropicError, ValueError, ImportError, RuntimeError) as error:
            words = " ".join(str(error).split())
            raise LlmAuthError(
                f"no client for {access.provider} can be made: {words}",
                mend="see models.provider, models.region and models.project, and that cloud's own sign-in",
            ) from error

    return make


def _made(access: Access, common: dict[str, Any]) -> SdkClient:
    import anthropic

    given: dict[str, Any] = {**common, **({"base_url": access.base_url} if access.base_url else {})}
    match access.provider:
        case Provider.ANTHROPIC:
            token = None if access.api_key else access.auth_token
            return anthropic.AsyncAnthropic(api_key=access.api_key, auth_token=token, **given)
        case Provider.AWS:
            return anthropic.AsyncAnthropicAWS(aws_region=access.region or None, **given)
        case Provider.BEDROCK:
            return anthropic.AsyncAnthropicBedrock(aws_region=access.region or None, **given)
        case Provider.BEDROCK_MANTLE:
            return anthropic.AsyncAnthropicBedrockMantle(aws_region=access.region or None, **given)
        case Provider.FOUNDRY:
            if not access.base_url and access.project:
                given["resource"] = access.project
            return anthropic.AsyncAnthropicFoundry(**given)
        case Provider.VERTEX:
            given |= {"region": access.region} if access.region else {}
            given |= {"project_id": access.project} if access.project else {}
            return anthropic.AsyncAnthropicVertex(access_token=access.auth_token or None, **given)
        case _:
            assert_never(access.provider)


def _for_anthropic(access: Access) -> Access:
    """Fill in what may be left out, or say that there is no way in."""
    key, token, url = access.api_key or None, access.auth_token or None, access.base_url or None
    if key is None and token is None:
        if url is None:
            raise LlmAuthError(
                "there is no key for the Messages API",
                mend="set ANTHROPIC_API_KEY, or models.base_url to a server of your own, "
                "or try `agentcoord demo`",
            )
        key = _UNNEEDED_KEY
    return Access(Provider.ANTHROPIC, key, token, url or _DEFAULT_BASE_URL)


def _missing(provider: str, extra: str) -> LlmRequestError:
    return LlmRequestError(
        f"the packages that {provider} needs are not installed",
        mend=f"pip install 'anthropic[{extra}]' into the environment that agentcoord is installed in",
    )


def _has_google_auth() -> bool:
    try:
        return importlib.util.find_spec("google.auth") is not None
    except ModuleNotFoundError:
        return False


def _is_on_loopback(url: str) -> bool:
    """Whether `url` names this machine. Raises LlmRequestError when it is no HTTP URL."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LlmRequestError(f"{url!r} is no HTTP URL", mend="write models.base_url as https://host[:port]")
    host = parts.hostname
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
