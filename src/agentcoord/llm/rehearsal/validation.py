"""What the service would refuse about a request: the rules that do not need the conversation's past.

Separate from `conversation`, which holds the rules between messages. The wording follows the
service's where it is known; nothing should match on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from agentcoord.llm.rehearsal.books import KNOWN_MODELS
from agentcoord.llm.rehearsal.prefix_cache import blocks_of
from agentcoord.llm.rehearsal.problems import Problem

COUNT_FIELDS = frozenset(
    {
        "cache_control",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
MESSAGE_FIELDS = COUNT_FIELDS | {
    "container",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
}
_SAMPLING_FIELDS = ("temperature", "top_k", "top_p")
_STRICT_MODELS = frozenset({"claude-sonnet-5-5", "claude-opus-5-5"})
"""Models that refuse forced tool choice and disabled thinking."""
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_OUTPUT_TOKENS = 128_000
_MAX_BREAKPOINTS = 4


def check_request(request: Mapping[str, Any], known_fields: frozenset[str]) -> Problem | None:
    """Return the first refusal that the request's fields earn, or None."""
    for name in ("model", "max_tokens", "messages"):
        if name in known_fields and name not in request:
            return _invalid(f"{name}: Field required")
    for name in _SAMPLING_FIELDS:
        if name in request:
            return _invalid(f"{name}: sampling parameters are not supported by this model")
    for name in sorted(request.keys() - known_fields):
        return _invalid(f"{name}: Extra inputs are not permitted")
    if not isinstance(request["model"], str) or not request["model"]:
        return _invalid("model: Input should be a valid string")
    if request["model"] not in KNOWN_MODELS:
        return Problem(404, f"model: {request['model']} (this server knows {', '.join(KNOWN_MODELS)})")
    return (
        _check_max_tokens(request.get("max_tokens", 1))
        or _check_messages(request["messages"])
        or _check_system(request.get("system"))
        or _check_tools(request.get("tools"))
        or _check_settings(request)
        or _check_breakpoints(request)
    )


def _invalid(message: str) -> Problem:
    return Problem(400, message)


def _check_max_tokens(max_tokens: object) -> Problem | None:
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int):
        return _invalid("max_tokens: Input should be a valid integer")
    if max_tokens < 1:
        return _invalid("max_tokens: must be greater than or equal to 1")
    if max_tokens > _MAX_OUTPUT_TOKENS:
        return _invalid(f"max_tokens: {max_tokens} > {_MAX_OUTPUT_TOKENS}, the maximum for this model")
    return None


def _check_messages(messages: object) -> Problem | None:
    if not isinstance(messages, list):
        return _invalid("messages: Input should be a valid list")
    if not messages:
        return _invalid("messages: at least one message is required")
    for n, message in enumerate(messages):
        where = f"messages.{n}"
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            return _invalid(f'{where}.role: Input should be "user" or "assistant"')
        for name in sorted(message.keys() - {"role", "content"}):
            return _invalid(f"{where}.{name}: Extra inputs are not permitted")
        content = message.get("content")
        if not isinstance(content, str | list):
            return _invalid(f"{where}.content: Input should be a valid list")
        if not content:
            return _invalid(f"{where}: all messages must have non-empty content")
        if isinstance(content, list) and (problem := _check_blocks(content, f"{where}.content")):
            return problem
    if messages[0]["role"] != "user":
        return _invalid('messages: first message must use the "user" role')
    return None


def _check_blocks(blocks: Iterable[object], where: str) -> Problem | None:
    for n, block in enumerate(blocks):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            return _invalid(f"{where}.{n}.type: Field required")
        if block["type"] == "text":
            text = block.get("text")
            if not isinstance(text, str):
                return _invalid(f"{where}.{n}.text: Field required")
            if not text:
                return _invalid(f"{where}.{n}: text content blocks must be non-empty")
        if block["type"] == "tool_use" and not isinstance(block.get("input"), dict):
            return _invalid(f"{where}.{n}.tool_use.input: Input should be a valid dictionary")
        mark = block.get("cache_control")
        if mark is not None and (problem := _check_mark(mark, f"{where}.{n}.cache_control")):
            return problem
    return None


def _check_system(system: object) -> Problem | None:
    if system is None or isinstance(system, str):
        return None
    if not isinstance(system, list):
        return _invalid("system: Input should be a valid list")
    if any(not isinstance(block, dict) or block.get("type") != "text" for block in system):
        return _invalid("system: Input should be a list of text blocks")
    return _check_blocks(system, "system")


def _check_tools(tools: object) -> Problem | None:
    if tools is None:
        return None
    if not isinstance(tools, list):
        return _invalid("tools: Input should be a valid list")
    names: set[str] = set()
    for n, tool in enumerate(tools):
        name = tool.get("name") if isinstance(tool, dict) else None
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            return _invalid(f"tools.{n}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if name in names:
            return _invalid("tools: Tool names must be unique.")
        names.add(name)
        is_custom = tool.get("type", "custom") == "custom"
        if is_custom and not isinstance(tool.get("input_schema"), dict):
            return _invalid(f"tools.{n}.custom.input_schema: Field required")
        mark = tool.get("cache_control")
        if mark is not None and (problem := _check_mark(mark, f"tools.{n}.cache_control")):
            return problem
    return None


def _check_settings(request: Mapping[str, Any]) -> Problem | None:
    """Thinking, tool choice and effort."""
    config = request.get("output_config")
    if config is not None:
        effort = config.get("effort") if isinstance(config, dict) else ""
        if effort is not None and effort not in _EFFORTS:
            return _invalid(f"output_config.effort: Input should be one of {', '.join(sorted(_EFFORTS))}")
    if request["model"] not in _STRICT_MODELS:
        return None
    choice = request.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        return _invalid("tool_choice: forced tool use is not supported by this model")
    thinking = request.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "disabled":
        return _invalid("thinking: cannot be disabled for this model")
    return None


def _check_mark(mark: object, where: str) -> Problem | None:
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
        return _invalid(f"{where}.type: Input should be 'ephemeral'")
    if mark.get("ttl", "5m") not in ("5m", "1h"):
        return _invalid(f"{where}.ttl: Input should be '5m' or '1h'")
    return None


def _check_breakpoints(request: Mapping[str, Any]) -> Problem | None:
    system = request.get("system") or []
    blocks = [*(request.get("tools") or []), *blocks_of(system)]
    for message in request["messages"]:
        blocks += blocks_of(message["content"])
    ttls = [block["cache_control"].get("ttl", "5m") for block in blocks if block.get("cache_control")]
    if len(ttls) > _MAX_BREAKPOINTS:
        return _invalid(
            f"A maximum of {_MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {len(ttls)}."
        )
    if "5m" in ttls and "1h" in ttls[ttls.index("5m") :]:
        return _invalid("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
    return None
