"""Sets whose sandboxes are forked from those of another set, on the mock."""

from __future__ import annotations

import threading

import pytest
import sandboxset
from conftest import eventually


def test_children_share_a_parent(mock: sandboxset.MockBackend) -> None:
    with sandboxset.SandboxSet(mock, max_size=2) as parents:
        events = parents.events()
        # The backend is the parent's unless another is given.
        with sandboxset.SandboxSet(parent=parents, max_size=20) as children:
            held = [children.get_or_create_unpaused() for _ in range(5)]
            assert all(child.exec(["true"]).success for child in held)
            assert (mock.calls("create"), parents.stats().forks, children.stats().created) == (1, 5, 5)
            forked = []
            while len(forked) < 5 and (event := events.next(timeout=30)):
                if event.kind == "fork":
                    forked.append(event.child_id)
                    assert f"child_id={event.child_id}" in repr(event)
            assert forked == [child.id for child in held]
            for child in held:
                child.put()
    assert mock.live() == 0


def test_many_gets_at_once_make_few_parents(mock: sandboxset.MockBackend) -> None:
    mock.fault_always("fork", sandboxset.MockFault.delay(0.002))
    with (
        sandboxset.SandboxSet(mock, max_size=2) as parents,
        sandboxset.SandboxSet(mock, parent=parents, max_size=50) as children,
    ):
        threads = [threading.Thread(target=lambda: children.get_or_create_unpaused().put()) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert mock.calls("create") <= 2
        assert parents.stats().fork_failures == 0


def test_a_fork_is_tried_twice(mock: sandboxset.MockBackend) -> None:
    with sandboxset.SandboxSet(mock) as parents, sandboxset.SandboxSet(mock, parent=parents) as children:
        mock.fault_at("fork", 1, sandboxset.MockFault.die())
        with children.get_or_create_unpaused() as child:
            assert child.exec(["true"]).success
            stats = parents.stats()
            assert (stats.forks, stats.fork_failures) == (1, 1)
            child.destroy()
        mock.fault_always("fork", sandboxset.MockFault.fail("wedged"))
        with pytest.raises(sandboxset.ForkFailedError, match="wedged") as caught:
            children.get_or_create_unpaused()
        assert (caught.value.phase, caught.value.retryable) == ("fork", True)


def test_children_outlive_their_closed_parents(mock: sandboxset.MockBackend) -> None:
    parents = sandboxset.SandboxSet(mock)
    with sandboxset.SandboxSet(mock, parent=parents) as children:
        with children.get_or_create_unpaused() as child:
            report = parents.close(0)
            assert "waiting for its last child" in report.survivors[0]
            assert child.exec(["true"]).success
            with pytest.raises(sandboxset.ForkFailedError) as caught:
                children.get_or_create_unpaused()
            assert "CLOSED" in caught.value.cause
        assert parents.stats().destroying == 1
    eventually(lambda: parents.stats().destroyed == 1)
    assert mock.live() == 0


def test_replace_gives_everybody_a_fresh_fork(mock: sandboxset.MockBackend) -> None:
    with (
        sandboxset.SandboxSet(mock) as parents,
        sandboxset.SandboxSet(mock, parent=parents, reuse="replace", min_idle=2) as children,
    ):
        for _ in range(5):
            eventually(lambda: children.stats().idle == 2)
            with children.get_or_create_unpaused() as child:
                assert not child.reused
                assert child.list_dir("/scratch") == []
                child.write_file("left", b"x")
        assert children.stats().hits == 5
        assert mock.calls("create") == 1


def test_what_cannot_be_a_parent(mock: sandboxset.MockBackend) -> None:
    with sandboxset.SandboxSet(mock, reuse="replace") as parents:
        with pytest.raises(sandboxset.InvalidArgumentError) as caught:
            sandboxset.SandboxSet(mock, parent=parents)
        assert caught.value.field == "parent"
    with sandboxset.SandboxSet(mock) as parents:
        with pytest.raises(sandboxset.InvalidArgumentError) as caught:
            sandboxset.SandboxSet(sandboxset.MockBackend(), parent=parents)
        assert caught.value.field == "parent"
