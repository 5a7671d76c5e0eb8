"""The Python API: what a script of yours uses instead of the commands. Its page is docs/API.md."""

from agentcoord.api.coordinator import AgentCoord
from agentcoord.api.events import Event, EventStream, Position
from agentcoord.errors import (
    AgentCoordError,
    BadPlanError,
    ConfigError,
    ConnectionLostError,
    DaemonNotRunningError,
    NotFoundError,
    PlanError,
    RefusedError,
    RpcError,
    UnavailableError,
    WireError,
)
from agentcoord.wire.answers import CostsView, DraftView, LoadView, StatsView
from agentcoord.wire.messages import StatusView, TaskView, WorkerView
from agentcoord.wire.task_views import DeadTaskView, TaskDetail

__all__ = [
    "AgentCoord",
    "AgentCoordError",
    "BadPlanError",
    "ConfigError",
    "ConnectionLostError",
    "CostsView",
    "DaemonNotRunningError",
    "DeadTaskView",
    "DraftView",
    "Event",
    "EventStream",
    "LoadView",
    "NotFoundError",
    "PlanError",
    "Position",
    "RefusedError",
    "RpcError",
    "StatsView",
    "StatusView",
    "TaskDetail",
    "TaskView",
    "UnavailableError",
    "WireError",
    "WorkerView",
]
