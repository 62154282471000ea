"""The set and its refs, on the mock."""

from __future__ import annotations

import threading

import pytest
import sandboxset
from conftest import PATIENCE, eventually


def test_put_makes_the_next_get_a_hit(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as first:
        assert (first.state, first.reused, first.uses) == ("held", False, 1)
        assert first.age >= 0.0
    with pool.get_or_create_unpaused(timeout=2.0) as second:
        assert (second.id, second.reused, second.uses) == (first.id, True, 2)
    stats = pool.stats()
    assert (stats.gets, stats.hits, stats.created, stats.idle, stats.held) == (2, 1, 1, 1, 0)
    assert stats.misses.get("empty") == 1


def test_an_exception_destroys(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    with pytest.raises(ZeroDivisionError), pool.get_or_create_unpaused() as sandbox:
        raise ZeroDivisionError
    assert sandbox.state == "stale"
    eventually(lambda: mock.live() == 0)
    reasons = pool.stats().destroyed_by
    assert any("ZeroDivisionError" in reason for reason in reasons) or sum(reasons.values()) == 1


def test_a_block_may_end_its_ref_itself(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        sandbox.put()
    assert mock.live() == 1
    with pool.get_or_create_unpaused() as sandbox:
        sandbox.destroy("no longer needed")
    eventually(lambda: mock.live() == 0)
    with pytest.raises(KeyError), pool.get_or_create_unpaused() as sandbox:
        sandbox.put()
        raise KeyError
    assert mock.live() == 1


def test_a_second_end_is_stale_and_harms_nobody(pool: sandboxset.SandboxSet) -> None:
    first = pool.get_or_create_unpaused()
    first.put()
    with pool.get_or_create_unpaused() as second:
        assert second.id == first.id
        for end in (first.put, first.destroy, lambda: first.exec(["true"]), lambda: first.usage()):
            with pytest.raises(sandboxset.StaleRefError):
                end()
        first.taint("too late")
        assert (first.state, second.state) == ("stale", "held")
        assert second.exec(["true"]).outcome
    assert pool.stats().idle == 1


def test_put_after_destroy_tells_the_reason(pool: sandboxset.SandboxSet) -> None:
    sandbox = pool.get_or_create_unpaused()
    sandbox.destroy("it looked odd")
    with pytest.raises(sandboxset.StaleRefError, match="it looked odd"):
        sandbox.put()
    assert sandbox.id > 0


def test_put_from_another_thread(pool: sandboxset.SandboxSet) -> None:
    sandbox = pool.get_or_create_unpaused()
    thread = threading.Thread(target=sandbox.put)
    thread.start()
    thread.join(PATIENCE)
    assert (sandbox.state, pool.stats().idle) == ("stale", 1)


def test_a_tainted_sandbox_is_not_reused(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        sandbox.taint("suspicious")
    eventually(lambda: mock.live() == 0)
    assert pool.stats().idle == 0


def test_use_after_close(mock: sandboxset.MockBackend) -> None:
    pool = sandboxset.SandboxSet(mock, max_size=2)
    sandbox = pool.get_or_create_unpaused()
    report = pool.close(0.01)
    assert report.survivors == ()
    assert mock.live() == 0
    for call in (
        pool.get_or_create_unpaused,
        lambda: pool.get_or_create_unpaused(timeout=0),
        lambda: pool.prewarm(1),
    ):
        with pytest.raises(sandboxset.ClosedError):
            call()
    assert pool.close().survivors == ()
    assert pool.stats().held == 0
    with pytest.raises(sandboxset.SandboxSetError):
        sandbox.exec(["true"])
    assert sandbox.state in ("stale", "dead")
    sandbox.put()


def test_a_ref_outlives_its_set(mock: sandboxset.MockBackend) -> None:
    pool = sandboxset.SandboxSet(mock, max_size=2)
    sandbox = pool.get_or_create_unpaused()
    del pool
    assert sandbox.id > 0
    sandbox.put()
    eventually(lambda: mock.live() == 0)


def test_closing_waits_for_a_put(mock: sandboxset.MockBackend) -> None:
    pool = sandboxset.SandboxSet(mock)
    sandbox = pool.get_or_create_unpaused()
    closing = threading.Thread(target=lambda: pool.close(PATIENCE))
    closing.start()

    def refused() -> bool:
        try:
            pool.get_or_create_unpaused(timeout=0, acquire="reuse_only").put()
        except sandboxset.ClosedError:
            return True
        except sandboxset.SandboxSetError:
            return False
        return False

    eventually(refused)
    assert sandbox.state == "held"
    sandbox.put()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert mock.live() == 0


def test_drain_stops_admission_and_waits(pool: sandboxset.SandboxSet) -> None:
    sandbox = pool.get_or_create_unpaused()
    with pytest.raises(sandboxset.TimeoutError):
        pool.drain(0.01)
    with pytest.raises(sandboxset.ClosedError):
        pool.get_or_create_unpaused()
    sandbox.put()
    pool.drain(PATIENCE)


def test_prewarm_and_shrink(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    assert pool.prewarm(3, timeout=PATIENCE) == 3
    assert (pool.stats().idle, mock.live()) == (3, 3)
    assert pool.prewarm(4, timeout=PATIENCE) == 4
    with pytest.raises(sandboxset.InvalidArgumentError, match="count"):
        pool.prewarm(5)
    assert pool.shrink(1) == 3
    eventually(lambda: mock.live() == 1)


def test_min_idle_is_kept(mock: sandboxset.MockBackend) -> None:
    with sandboxset.SandboxSet(mock, min_idle=2, max_size=4) as pool:
        eventually(lambda: pool.stats().idle == 2)
        with pool.get_or_create_unpaused():
            eventually(lambda: pool.stats().idle == 2)


def test_what_will_do(pool: sandboxset.SandboxSet) -> None:
    with pytest.raises(sandboxset.SandboxSetError) as caught:
        pool.get_or_create_unpaused(acquire="reuse_only", no_wait=True)
    assert isinstance(caught.value, sandboxset.ExhaustedError)
    with pool.get_or_create_unpaused() as first:
        pass
    with pool.get_or_create_unpaused(acquire="fresh_only") as second:
        assert second.id != first.id
    with pool.get_or_create_unpaused(acquire="reuse_only") as third:
        assert third.reused


def test_no_wait_fails_at_once(mock: sandboxset.MockBackend) -> None:
    with sandboxset.SandboxSet(mock, max_size=1) as pool, pool.get_or_create_unpaused():
        with pytest.raises(sandboxset.ExhaustedError) as caught:
            pool.get_or_create_unpaused(no_wait=True)
        assert caught.value.retryable
        with pytest.raises((sandboxset.TimeoutError, sandboxset.ExhaustedError)):
            pool.get_or_create_unpaused(timeout=0)


def test_too_many_waiters(mock: sandboxset.MockBackend) -> None:
    with sandboxset.SandboxSet(mock, max_size=1, max_waiters=1) as pool:
        held = pool.get_or_create_unpaused()
        served = threading.Thread(target=lambda: pool.get_or_create_unpaused(timeout=PATIENCE).put())
        served.start()
        eventually(lambda: pool.stats().waiting == 1)
        with pytest.raises(sandboxset.OverloadedError):
            pool.get_or_create_unpaused()
        held.put()
        served.join(PATIENCE)
        assert pool.stats().idle == 1


@pytest.mark.parametrize("from_main", [True, False])
def test_cancel_ends_a_wait(mock: sandboxset.MockBackend, from_main: bool) -> None:
    with sandboxset.SandboxSet(mock, max_size=1) as pool, pool.get_or_create_unpaused():
        token = sandboxset.CancelToken()
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                pool.get_or_create_unpaused(cancel=token, timeout=PATIENCE)
            except BaseException as error:
                caught.append(error)

        def cancel() -> None:
            eventually(lambda: pool.stats().waiting == 1)
            token.cancel()

        here, there = (wait, cancel) if from_main else (cancel, wait)
        thread = threading.Thread(target=there)
        thread.start()
        here()
        thread.join(PATIENCE)
        assert [type(error) for error in caught] == [sandboxset.CancelledError]
        assert token.cancelled
        with pytest.raises(sandboxset.CancelledError):
            pool.get_or_create_unpaused(cancel=token)
        assert pool.stats().waiting == 0


def test_events_come_in_order(mock: sandboxset.MockBackend) -> None:
    pool = sandboxset.SandboxSet(mock)
    events = pool.events(capacity=64)
    with pool.get_or_create_unpaused() as sandbox:
        pass
    pool.close()
    seen = list(events)
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    assert {event.sandbox_id for event in seen} == {sandbox.id}
    kinds = [event.kind for event in seen]
    assert (kinds[0], kinds[-1]) == ("create", "destroy")
    assert "put" in kinds
    assert seen[-1].reason
    assert "kind='destroy'" in repr(seen[-1])


def test_an_iteration_of_events_ends_at_its_timeout(pool: sandboxset.SandboxSet) -> None:
    events = pool.events(timeout=0.02)
    assert list(events) == []
    assert events.next(timeout=0) is None
    pool.get_or_create_unpaused().put()
    assert next(events).kind == "create"


def test_a_slow_reader_of_events_is_told_of_the_loss(pool: sandboxset.SandboxSet) -> None:
    events = pool.events(capacity=2)
    for _ in range(10):
        pool.get_or_create_unpaused().put()
    kinds = [event for event in iter(lambda: events.next(timeout=0), None)]
    assert any(event.kind == "lost" and event.lost and event.lost > 0 for event in kinds)


def test_a_reset_before_the_next_holder(mock: sandboxset.MockBackend) -> None:
    mock.fault_at("reset", 2, sandboxset.MockFault.fail("something is left"))
    with sandboxset.SandboxSet(mock, max_size=1, reuse="reset") as pool:
        events = pool.events()
        with pool.get_or_create_unpaused() as first:
            first.write_file("note", b"left")
        with pool.get_or_create_unpaused() as second:
            assert second.id == first.id
            assert second.list_dir("/scratch") == []
        with pool.get_or_create_unpaused() as third:
            assert third.id != first.id
            stats = pool.stats()
        assert (stats.resets, stats.reset_failures) == (1, 1)
        while (event := events.next(timeout=30)) and event.kind != "reset":
            pass
        assert event is not None and event.reason == "files: as when fresh" and "as when fresh" in repr(event)
        while (event := events.next(timeout=30)) and event.kind != "destroy":
            pass
        assert event is not None and event.reason == "reset: something is left"


def test_a_reset_of_sandboxes_with_a_runtime_is_refused(mock: sandboxset.MockBackend) -> None:
    with pytest.raises(sandboxset.InvalidArgumentError) as caught:
        sandboxset.SandboxSet(mock, reuse="reset", runtime=sandboxset.Runtime(["/run"]))
    assert caught.value.field == "reuse"


def test_a_report_of_the_isolation(pool: sandboxset.SandboxSet) -> None:
    report = pool.isolation_report()
    assert isinstance(report.layers, tuple)
    assert report.layer("no such layer") is None
    assert isinstance(str(report), str)


def test_a_manual_clock(mock: sandboxset.MockBackend) -> None:
    clock = sandboxset.ManualClock()
    with sandboxset.SandboxSet(mock, clock=clock) as pool, pool.get_or_create_unpaused() as sandbox:
        assert sandbox.age == 0.0
        clock.advance(5)
        assert sandbox.age == 5.0
