"""The only home of Redis: what a project's night is made of, behind typed operations."""

from agentcoord.store.budget_ledger import BudgetLedger, Caps, CapScope, Refusal, Spend, Totals
from agentcoord.store.connection import CleanupOutcome, Store, unix_url
from agentcoord.store.event_log import EventLog
from agentcoord.store.file_locks import FileLocks, HeldLock, LockAnswer, LockOutcome, LockWait
from agentcoord.store.loading import LoadOutcome
from agentcoord.store.questions import OpenQuestion, QuestionBook
from agentcoord.store.queue import TaskQueue

__all__ = [
    "BudgetLedger",
    "CapScope",
    "Caps",
    "CleanupOutcome",
    "EventLog",
    "FileLocks",
    "HeldLock",
    "LoadOutcome",
    "LockAnswer",
    "LockOutcome",
    "LockWait",
    "OpenQuestion",
    "QuestionBook",
    "Refusal",
    "Spend",
    "Store",
    "TaskQueue",
    "Totals",
    "unix_url",
]
