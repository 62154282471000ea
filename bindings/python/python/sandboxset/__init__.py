"""A warm, thread-safe set of sandboxes for one function, inside your own process.

>>> import sandboxset
>>> with sandboxset.SandboxSet(max_size=8) as pool:
...     with pool.get_or_create_unpaused(timeout=2.0) as sandbox:
...         out = sandbox.exec(["python3", "-c", "print(6*7)"], timeout=5.0)
...         print(out.stdout, out.exit_code)
"""

import sys
from typing import TYPE_CHECKING, Any

from . import _native
from ._native import (
    CancelToken,
    Check,
    CloseReport,
    Connection,
    Diagnosis,
    DirEntry,
    Event,
    EventStream,
    IsolationReport,
    Layer,
    LinuxBackend,
    ManualClock,
    MockBackend,
    MockFault,
    Output,
    Process,
    SandboxRef,
    Stats,
    Usage,
    ZygoteNode,
    ZygoteTree,
    doctor,
    propose_tree,
)
from ._set import CommandPolicy, SandboxSet
from .config import Bind, LateBinding, LateFile, LateLimits, Limits, Runtime
from .errors import (
    BackendUnavailableError,
    CancelledError,
    CircuitOpenError,
    ClosedError,
    CreateFailedError,
    ExhaustedError,
    ForkedProcessError,
    ForkFailedError,
    HandlerFailedError,
    InternalError,
    InvalidArgumentError,
    InvalidStateError,
    NoCapacityError,
    OverloadedError,
    PermissionDeniedError,
    SandboxDeadError,
    SandboxSetError,
    StaleRefError,
    TimeoutError,
    TooBigError,
    UnsupportedError,
)
from .runtimes import NodeRuntime, PythonRuntime
from .zygote_tree import FunctionImports, Package

if TYPE_CHECKING:
    from . import aio

# A module within a compiled one has to be made known by its name.
sys.modules[f"{_native.__name__}.aio"] = _native.aio

__all__ = [
    "BackendUnavailableError",
    "Bind",
    "CancelToken",
    "CancelledError",
    "Check",
    "CircuitOpenError",
    "CloseReport",
    "ClosedError",
    "CommandPolicy",
    "Connection",
    "CreateFailedError",
    "Diagnosis",
    "DirEntry",
    "Event",
    "EventStream",
    "ExhaustedError",
    "ForkFailedError",
    "ForkedProcessError",
    "FunctionImports",
    "HandlerFailedError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidStateError",
    "IsolationReport",
    "LateBinding",
    "LateFile",
    "LateLimits",
    "Layer",
    "Limits",
    "LinuxBackend",
    "ManualClock",
    "MockBackend",
    "MockFault",
    "NoCapacityError",
    "NodeRuntime",
    "Output",
    "OverloadedError",
    "Package",
    "PermissionDeniedError",
    "Process",
    "PythonRuntime",
    "Runtime",
    "SandboxDeadError",
    "SandboxRef",
    "SandboxSet",
    "SandboxSetError",
    "StaleRefError",
    "Stats",
    "TimeoutError",
    "TooBigError",
    "UnsupportedError",
    "Usage",
    "ZygoteNode",
    "ZygoteTree",
    "aio",
    "doctor",
    "propose_tree",
]


def __getattr__(name: str) -> Any:
    """Import the asyncio side when it is first used: asyncio is not small."""
    if name == "aio":
        import importlib

        return importlib.import_module(".aio", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
