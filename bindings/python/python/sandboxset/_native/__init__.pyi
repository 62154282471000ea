# The compiled part of sandboxset, as the type checkers see it. stubtest compares it with the module.

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeAlias, final

from typing_extensions import disjoint_base

from ..config import Bind, LateBinding, Limits, Name, Runtime
from ..runtimes import NodeRuntime, PythonRuntime
from ..zygote_tree import FunctionImports, Package
from . import aio as aio

__all__ = [
    "CancelToken",
    "Check",
    "CloseReport",
    "Connection",
    "Diagnosis",
    "DirEntry",
    "Event",
    "EventStream",
    "IsolationReport",
    "Layer",
    "LinuxBackend",
    "ManualClock",
    "MockBackend",
    "MockFault",
    "Output",
    "Process",
    "SandboxRef",
    "SandboxSet",
    "Stats",
    "Usage",
    "ZygoteNode",
    "ZygoteTree",
    "aio",
    "close_all",
    "doctor",
    "error_table",
    "in_forked_child",
    "propose_tree",
    "self_test",
]

_Bytes: TypeAlias = bytes | bytearray | memoryview
_ExcType: TypeAlias = type[BaseException] | None
_Exc: TypeAlias = BaseException | None
_Traceback: TypeAlias = TracebackType | None
_Operation: TypeAlias = Literal[
    "create", "pause", "unpause", "destroy", "exec", "death", "connect", "files", "reset", "fork", "bind", "unbind"
]  # fmt: skip
_Outcome: TypeAlias = Literal["exited", "signaled", "timed_out", "out_of_memory", "output_limit"]

def error_table() -> list[tuple[int, str, bool]]:
    """Every code of this build: number, name, retryable. For the test that compares the tables."""

def close_all(sets: Sequence[SandboxSet], timeout: float) -> None:
    """Closes sets side by side, for the exit of the interpreter. Never takes longer than `timeout`."""

def doctor() -> Diagnosis:
    """Examines this host: makes one sandbox and destroys it, and changes nothing."""

def self_test(*, json: bool) -> tuple[str, bool]:
    """Tries to break out of sandboxes on this host; the report as text, and whether nothing escaped."""

def in_forked_child() -> bool:
    """Whether this process was forked from one that had made a set."""

@final
class CancelToken:
    """Cancels the calls it was given to, from any thread. Once cancelled it stays cancelled."""

    def __new__(cls) -> Self: ...
    def cancel(self) -> None:
        """Cancels every call that holds this token. Idempotent; never waits for the calls."""

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""

    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class LinuxBackend:
    """Makes sandboxes of Linux namespaces and cgroups; needs no root and no daemon.

    `keeper` is the keeper program to run instead of the embedded one. OCI images are unpacked in `image_cache`,
    a directory of this user alone; default ``$XDG_CACHE_HOME/sandboxset/oci`` or ``~/.cache/sandboxset/oci``.
    `shells` sandboxes, 1024 at most, are kept prepared for each spec once it was used, so that new ones take a
    fraction of the time; default as many as were lately asked for at once, none once a spec has not been used for
    minutes. With 0 every create starts from nothing.
    """

    def __new__(
        cls, *, keeper: Name | None = None, image_cache: Name | None = None, shells: int | None = None
    ) -> Self: ...
    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class MockBackend:
    """Makes sandboxes that exist only in memory, and fails, hangs or dies exactly when told to. For tests.

    A command answers its arguments, joined by spaces and followed by a newline, and exits with 0; a call to the
    runtime answers the request; files live in memory.
    """

    def __new__(cls) -> Self: ...
    def fault_at(self, operation: _Operation, nth: int, fault: MockFault) -> None:
        """Scripts a fault for the `nth` call of an operation, counted from 1 over all sandboxes of this backend."""

    def fault_always(self, operation: _Operation, fault: MockFault | None = None) -> None:
        """Scripts a fault for every call of an operation from now on; `None` ends it."""

    def release_hangs(self) -> None:
        """Lets every hanging call go on, now and later."""

    def wait_for_hangs(self, operation: _Operation, count: int, *, timeout: float | None = None) -> bool:
        """Waits until at least `count` calls of an operation hang at once; `False` if they do not in time (30)."""

    def calls(self, operation: _Operation) -> int:
        """How often an operation was called."""

    def live(self) -> int:
        """How many of its sandboxes exist: created and not destroyed yet, dead ones included."""

    def most_live(self) -> int:
        """The most of its sandboxes that ever existed at once."""

    def paused(self) -> int:
        """How many of its sandboxes exist and are paused."""

    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class MockFault:
    """What happens at a scripted call of a `MockBackend`."""

    @staticmethod
    def fail(cause: str) -> MockFault:
        """The call fails with this cause."""

    @staticmethod
    def hang() -> MockFault:
        """The call blocks until `MockBackend.release_hangs`."""

    @staticmethod
    def die() -> MockFault:
        """The sandbox dies, then the call fails."""

    @staticmethod
    def delay(seconds: float) -> MockFault:
        """The call takes this many seconds, on the real clock."""

@final
class ManualClock:
    """A clock that only `advance` moves; for tests."""

    def __new__(cls) -> Self: ...
    def advance(self, by: float) -> None:
        """Moves the clock by this many seconds and runs everything whose deadline has come."""

    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@disjoint_base
class SandboxSet:
    """All sandboxes of one function; thread-safe."""

    def __new__(
        cls,
        backend: LinuxBackend | MockBackend | None = None,
        *,
        root: Name | None = None,
        code_dir: Name | None = None,
        binds: Sequence[Bind] | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        runtime: Runtime | PythonRuntime | NodeRuntime | None = None,
        layers: Mapping[str, Literal["required", "best_effort", "off"]] | None = None,
        max_size: int | None = None,
        min_idle: int | None = None,
        max_waiters: int | None = None,
        get_timeout: float | None = None,
        create_timeout: float | None = None,
        reuse: Literal["keep", "reset", "replace"] | None = None,
        parent: SandboxSet | None = None,
        max_forks: int | None = None,
        scratch_dirs: Name | None = None,
        command_policy: Any = None,
        clock: ManualClock | None = None,
    ) -> Self: ...
    def get_or_create_unpaused(
        self,
        *,
        timeout: float | None = None,
        no_wait: bool | None = None,
        acquire: Literal["any", "reuse_only", "fresh_only"] | None = None,
        cancel: CancelToken | None = None,
        binding: LateBinding | None = None,
    ) -> SandboxRef:
        """A running sandbox: the most recently used idle one, else a new one, else the first that comes free.

        `timeout` is how long to wait, by default the set's `get_timeout`; zero is one try. With `no_wait` the call
        fails with `ExhaustedError` instead of waiting. `acquire` says which sandboxes will do. `binding` is what this
        holder gets on top of the set's recipe; it is bound after the wait, within 5 seconds.
        """

    def prewarm(self, count: int, *, timeout: float | None = None) -> int:
        """Makes idle sandboxes until there are `count`, or until the set is full.

        Waits for them, at most `timeout` (60) seconds, and answers how many are idle then.
        """

    def shrink(self, keep: int) -> int:
        """Destroys idle sandboxes, least recently used first, until `keep` are left; answers how many."""

    def drain(self, deadline: float | None = None) -> None:
        """Stops admission and waits for holders, at most `deadline` (10) seconds; then `TimeoutError`. Idempotent."""

    def close(self, deadline: float | None = None) -> CloseReport:
        """Ends the set: fails waiters with `ClosedError` and destroys what is idle.

        Held sandboxes are destroyed at their put, or at the deadline (10 seconds). Waits for the teardown and reports
        what survived. Idempotent.
        """

    def stats(self) -> Stats:
        """A consistent snapshot of the counters. Works after close."""

    def events(self, *, capacity: int | None = None, timeout: float | None = None) -> EventStream:
        """Subscribes to what happens from now on. At most `capacity` (1024) unread events are kept.

        An iteration over the stream ends when the set is closed, or when no event came for `timeout` seconds.
        """

    def isolation_report(self) -> IsolationReport:
        """What isolation the sandboxes of this set reach on this host."""

    def __enter__(self) -> Self: ...
    def __exit__(self, _exc_type: _ExcType, _exc_value: _Exc, _traceback: _Traceback) -> None: ...
    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class SandboxRef:
    """One caller's hold on one sandbox, from a get until `put` or `destroy`, exactly once; thread-safe.

    As a context manager it puts the sandbox at the end of the block, and destroys it when an exception leaves the
    block. A ref that is collected without either is destroyed, with a `ResourceWarning`.
    """

    def put(self) -> None:
        """Gives the sandbox back, paused and idle, or straight to the oldest waiter.

        One that cannot be reused is destroyed instead, without an error. A second put is a `StaleRefError`.
        """

    def destroy(self, reason: str | None = None) -> None:
        """Ends the sandbox; the reason is kept and shown by any later call. Does not wait for the teardown."""

    def taint(self, reason: str) -> None:
        """Marks the sandbox as not reusable: its put will destroy it."""

    def exec(
        self,
        args: Sequence[Name],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Name | None = None,
        stdin: _Bytes | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        output_bytes: int | None = None,
        on_overflow: Literal["truncate", "kill"] | None = None,
        memory_bytes: int | None = None,
        cpu_seconds: int | None = None,
        cancel: CancelToken | None = None,
    ) -> Output:
        """Runs a command to its end; how it ended is in the output, not an exception.

        `args` is the program and its arguments, never a shell. `timeout` is 30 seconds by default; afterwards TERM,
        `grace` (0.2) seconds, KILL of every process it started. Of each output stream `output_bytes` (1 MiB) are
        kept, half from the beginning, half from the end; with `on_overflow="kill"` more than that ends the command.
        `memory_bytes` and `cpu_seconds` limit each of its processes.
        """

    def spawn(
        self,
        args: Sequence[Name],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Name | None = None,
        stdin: _Bytes | Literal["stream"] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        output_bytes: int | None = None,
        on_overflow: Literal["truncate", "kill"] | None = None,
        memory_bytes: int | None = None,
        cpu_seconds: int | None = None,
        cancel: CancelToken | None = None,
    ) -> Process:
        """Starts a command; as `exec`, but with `stdin="stream"` it reads what `Process.write_stdin` writes."""

    def connect(self, *, timeout: float | None = None, cancel: CancelToken | None = None) -> Connection:
        """Opens a stream to the runtime's socket."""

    def call(self, request: _Bytes, *, timeout: float | None = None, cancel: CancelToken | None = None) -> bytes:
        """Sends one request to the runtime and returns its answer."""

    def call_json(self, value: Any, *, timeout: float | None = None, cancel: CancelToken | None = None) -> Any:
        """Sends a value as JSON to the runtime and returns its answer, which must be JSON too."""

    def read_file(self, path: Name, *, max_bytes: int | None = None) -> bytes:
        """Reads a regular file of at most `max_bytes` (64 MiB); a larger one is `TooBigError`.

        The path is absolute in the sandbox, or relative to its scratch dir. The host follows no link planted inside.
        """

    def write_file(self, path: Name, data: _Bytes, *, mode: int | None = None) -> None:
        """Creates or replaces a regular file, whole or not at all, with these permission bits (0o644)."""

    def list_dir(self, path: Name | None = None, *, max_entries: int | None = None) -> list[DirEntry]:
        """The entries of a directory, by default the scratch dir, sorted by name.

        More than `max_entries` (4096) is `TooBigError`.
        """

    def remove(self, path: Name) -> None:
        """Removes a file or, with all it holds, a directory."""

    @property
    def id(self) -> int:
        """The id of the sandbox; valid after put and destroy."""

    @property
    def scratch_dir(self) -> str:
        """The scratch dir as the sandbox's own processes see it."""

    @property
    def host_scratch_dir(self) -> str | None:
        """The scratch dir on the host, if it is a directory of the host."""

    @property
    def state(self) -> Literal["held", "dead", "stale"]:
        """What state the sandbox is in for this holder."""

    @property
    def reused(self) -> bool:
        """Whether an earlier holder used this sandbox."""

    @property
    def uses(self) -> int:
        """How often the sandbox was handed out, this time included."""

    @property
    def age(self) -> float:
        """The seconds since it became ready."""

    def usage(self) -> Usage:
        """What the sandbox uses now."""

    def log(self, *, max_bytes: int | None = None) -> bytes:
        """What the runtime wrote to its standard output and error, the last `max_bytes` (64 KiB) of it."""

    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: _ExcType, _exc_value: _Exc, _traceback: _Traceback) -> None: ...
    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class Output:
    """How a command ended, what it wrote and what it used."""

    @property
    def outcome(self) -> _Outcome:
        """How it ended."""

    @property
    def exit_code(self) -> int | None:
        """The exit code, if the command exited by itself."""

    @property
    def signal(self) -> int | None:
        """The signal that ended the command, if one did."""

    @property
    def success(self) -> bool:
        """Whether the command exited with code 0."""

    @property
    def stdout(self) -> str:
        """Standard output as text, with invalid UTF-8 replaced."""

    @property
    def stderr(self) -> str:
        """Standard error as text, with invalid UTF-8 replaced."""

    @property
    def stdout_bytes(self) -> bytes:
        """Standard output as it was kept: all of it, or its head followed by its tail."""

    @property
    def stderr_bytes(self) -> bytes:
        """Standard error as it was kept: all of it, or its head followed by its tail."""

    @property
    def stdout_dropped(self) -> int:
        """How many bytes were dropped between the head and the tail of standard output."""

    @property
    def stderr_dropped(self) -> int:
        """How many bytes were dropped between the head and the tail of standard error."""

    @property
    def stdout_head(self) -> int:
        """Where the tail begins in `stdout_bytes`, if something was dropped."""

    @property
    def stderr_head(self) -> int:
        """Where the tail begins in `stderr_bytes`, if something was dropped."""

    @property
    def truncated(self) -> bool:
        """Whether anything of either stream was dropped."""

    @property
    def usage(self) -> Usage:
        """What the command used."""

@final
class Usage:
    """What a command, or a whole sandbox, used."""

    @property
    def wall(self) -> float:
        """Seconds from start to end."""

    @property
    def cpu(self) -> float:
        """CPU seconds, user and system together."""

    @property
    def peak_memory_bytes(self) -> int:
        """Peak memory in bytes. For a command: the largest resident size of one process."""

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes now; zero for a command, which is over.

        What a sandbox is charged for: each page once, to the sandbox that used it first, so that what a fork shares
        with its parent is the parent's.
        """

    @property
    def proportional_memory_bytes(self) -> int:
        """Memory in bytes now as the processes of a sandbox see it (the kernel's PSS).

        A page that several share counts for each of them in part. Zero for a command, and where the kernel or the
        processes do not let us look.
        """

    @property
    def pids(self) -> int:
        """Processes and threads now; zero for a command."""

@final
class Process:
    """A command that was started with `SandboxRef.spawn`; thread-safe. Collecting it kills the command.

    An iteration yields what it writes to standard output, piece by piece. As a context manager it is killed at the
    end of the block, if it still runs.
    """

    def write_stdin(self, data: _Bytes, *, timeout: float | None = None) -> None:
        """Writes all bytes to the command's standard input, which must be `"stream"`; at most `timeout` (30) seconds.

        An interrupt does not take back what the command may still read.
        """

    def close_stdin(self) -> None:
        """Ends the command's standard input. Idempotent."""

    def read(
        self,
        max_bytes: int | None = None,
        *,
        stream: Literal["stdout", "stderr"] | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Reads what the command wrote, up to `max_bytes` (64 KiB); empty at the end.

        Waits for something to read, at most `timeout` (30) seconds; then `TimeoutError`.
        """

    def signal(self, signal: int) -> None:
        """Sends a signal, 1 to 64, to the command's own process."""

    def kill(self) -> None:
        """Kills every process of the command. Idempotent."""

    def wait(self, *, timeout: float | None = None, cancel: CancelToken | None = None) -> Output:
        """Waits for the end of the command. A timeout, by default none, leaves it running.

        What `read` did not take is in the output, bounded. Later calls answer the same output again.
        """

    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, _exc_type: _ExcType, _exc_value: _Exc, _traceback: _Traceback) -> None: ...
    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class Connection:
    """A stream to a runtime's socket; thread-safe. Collecting it closes it."""

    def read(self, max_bytes: int | None = None, *, timeout: float | None = None) -> bytes:
        """Reads up to `max_bytes` (64 KiB); empty when the runtime has closed the stream."""

    def write(self, data: _Bytes, *, timeout: float | None = None) -> None:
        """Writes all bytes. After a timeout it is unknown how many were written: close the connection."""

    def close(self) -> None:
        """Closes the stream. Idempotent."""

    def __enter__(self) -> Self: ...
    def __exit__(self, _exc_type: _ExcType, _exc_value: _Exc, _traceback: _Traceback) -> None: ...
    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class Stats:
    """A consistent snapshot of a set's counters."""

    @property
    def idle(self) -> int:
        """Sandboxes that wait for a holder."""

    @property
    def held(self) -> int:
        """Sandboxes with a holder."""

    @property
    def creating(self) -> int:
        """Creates in flight."""

    @property
    def resuming(self) -> int:
        """Sandboxes being unpaused."""

    @property
    def returning(self) -> int:
        """Sandboxes being paused after a put."""

    @property
    def destroying(self) -> int:
        """Sandboxes being destroyed."""

    @property
    def quarantined(self) -> int:
        """Sandboxes whose destroy failed; retried with back-off."""

    @property
    def waiting(self) -> int:
        """Callers waiting now."""

    @property
    def gets(self) -> int:
        """Gets that were served."""

    @property
    def hits(self) -> int:
        """Gets served by a sandbox that was idle."""

    @property
    def misses(self) -> dict[str, int]:
        """Gets that found no idle sandbox, by reason."""

    @property
    def waits(self) -> int:
        """Gets that had to wait."""

    @property
    def timeouts(self) -> int:
        """Gets that timed out."""

    @property
    def created(self) -> int:
        """Sandboxes created."""

    @property
    def create_failures(self) -> int:
        """Creates that failed."""

    @property
    def puts(self) -> int:
        """Sandboxes put back."""

    @property
    def resets(self) -> int:
        """Sandboxes that were reset after a put."""

    @property
    def reset_failures(self) -> int:
        """Resets that failed or were not verified; the sandbox was destroyed."""

    @property
    def forks(self) -> int:
        """Sandboxes of other sets that were forked from sandboxes of this one."""

    @property
    def fork_failures(self) -> int:
        """Forks of sandboxes of this set that failed."""

    @property
    def destroyed(self) -> int:
        """Sandboxes destroyed."""

    @property
    def destroyed_by(self) -> dict[str, int]:
        """Sandboxes destroyed, by reason."""

@final
class CloseReport:
    """What a close left behind."""

    @property
    def destroyed(self) -> int:
        """How many sandboxes were destroyed during the close."""

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sandboxes that could not be destroyed in time, each with its state and the reason."""

@final
class Event:
    """One thing that happened to one sandbox of a set."""

    @property
    def sequence(self) -> int:
        """Counts every event of the set from 1 without gaps; a gap in what a stream delivers is a loss."""

    @property
    def sandbox_id(self) -> int:
        """The id of the sandbox."""

    @property
    def kind(self) -> Literal["create", "unpause", "pause", "put", "reset", "fork", "destroy", "fault", "lost"]:
        """What happened."""

    @property
    def reason(self) -> str | None:
        """The reason of a destroy, the text of a fault, or what a reset verified from outside."""

    @property
    def child_id(self) -> int | None:
        """The id of the sandbox that was forked from this one, if the kind is `fork`."""

    @property
    def lost(self) -> int | None:
        """How many events were dropped here, if the kind is `lost`."""

@final
class EventStream:
    """The events of one set from the moment of subscription. A slow reader loses the oldest and is told."""

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; `None` if none came in time, or if the set is closed and all were read."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Event: ...
    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class DirEntry:
    """One entry of a directory in a sandbox."""

    @property
    def name(self) -> str:
        """The name, which the sandbox chose; as `os.fsdecode` gives it."""

    @property
    def kind(self) -> Literal["file", "directory", "symlink", "other"]:
        """What kind of file it is."""

@final
class Diagnosis:
    """What `doctor` found out; `str` makes a table of it."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """One per feature, in a fixed order."""

    @property
    def can_make_sandboxes(self) -> bool:
        """Whether a sandbox was made, used and destroyed."""

    def check(self, name: str) -> Check | None:
        """The check of this name, if there is one."""

    def to_json(self) -> str:
        """The report as one JSON object."""

@final
class Check:
    """One feature of the host."""

    @property
    def name(self) -> str:
        """Its short name, for example `namespace.user`."""

    @property
    def status(self) -> Literal["works", "degraded", "missing"]:
        """Whether it can be used."""

    @property
    def detail(self) -> str:
        """By what means, or why not."""

    @property
    def fix(self) -> str:
        """What to do about it; empty if there is nothing to do."""

@final
class IsolationReport:
    """The layers of isolation of a backend and what was reached of each; `str` makes a table of it."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """One per layer, in a fixed order."""

    def layer(self, name: str) -> Layer | None:
        """The layer of this name, if there is one."""

@final
class Layer:
    """One layer of isolation."""

    @property
    def name(self) -> str:
        """Its short name, for example `seccomp`."""

    @property
    def status(self) -> Literal["active", "degraded", "missing"]:
        """What was reached."""

    @property
    def detail(self) -> str:
        """By what means, or why not."""

def propose_tree(
    functions: Sequence[FunctionImports],
    packages: Sequence[Package],
    *,
    max_nodes: int | None = None,
    memory_bytes: int | None = None,
    node_bytes: int | None = None,
) -> ZygoteTree:
    """Proposes a tree of parents for these functions. The answer depends on nothing but the arguments.

    At most `max_nodes` nodes (default 16), the root included, that take at most `memory_bytes` bytes together
    (default no limit); each one takes `node_bytes` (default 1 MiB) beyond the packages it adds.

    A function can be forked from any parent that has loaded nothing but what the function imports anyway. The tree
    is grown by the node that saves the most import time, as OpenLambda's Forklift does it.
    """

@final
class ZygoteTree:
    """A proposed tree of parents."""

    @property
    def nodes(self) -> tuple[ZygoteNode, ...]:
        """The nodes; the first one is the root, and every other one comes after its parent."""

    @property
    def placements(self) -> dict[str, int]:
        """The number of the node to fork each function from, by its name."""

    @property
    def import_time_without(self) -> float:
        """Seconds of imports on the request path if every function starts from nothing, each by its weight."""

    @property
    def import_time_with(self) -> float:
        """The same if every function is forked from its node."""

@final
class ZygoteNode:
    """A parent to preload."""

    @property
    def parent(self) -> int | None:
        """The number of its own parent; `None` for the root."""

    @property
    def preload(self) -> tuple[str, ...]:
        """What it imports beyond what its parent has; everything comes after what it requires."""

    @property
    def memory_bytes(self) -> int:
        """What it takes beyond its parent, in bytes."""
