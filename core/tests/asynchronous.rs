//! Tasks that wait, beside threads that do: one queue, no thread per task, and nothing is lost when one is dropped.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{
    CancelToken, Clock, Command, Config, ErrorCode, FirstLook, GetOptions, LateBinding, LateLimits,
    ManualClock, MissReason, Result, SandboxRef, SandboxSet, SandboxSpec, Secret, Stdin,
};
use support::{HANG, check, get, now, set, until, within};

fn one() -> Config {
    Config { max_size: 1, ..Config::default() }
}

fn patient() -> GetOptions {
    within(HANG)
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Says whether somebody woke the task.
#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A future that is polled by hand.
struct ByHand<F> {
    future: std::pin::Pin<Box<F>>,
    alarm: Arc<Alarm>,
}

impl<F: Future> ByHand<F> {
    fn new(future: F) -> Self {
        ByHand { future: Box::pin(future), alarm: Arc::default() }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.alarm));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn await_alarm(&self) {
        let start = std::time::Instant::now();
        while !self.alarm.0.load(Ordering::SeqCst) {
            assert!(start.elapsed() < HANG, "the task is never woken");
            thread::yield_now();
        }
    }
}

fn code<T>(result: Result<T>) -> ErrorCode {
    result.err().unwrap().code()
}

#[test]
fn tasks_and_threads_stand_in_one_queue() {
    let (set, _mock) = set(one());
    let held = get(&set);
    let (served, order) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..20 {
            let (served, set) = (served.clone(), &set);
            scope.spawn(move || {
                let sandbox = match number % 2 {
                    0 => get(set),
                    _ => block_on(set.get_or_create_unpaused_async(patient())).unwrap(),
                };
                served.send(number).unwrap();
                sandbox.put().unwrap();
            });
            until(set, "queued", |stats| stats.waiting == number + 1);
        }
        held.put().unwrap();
    });
    drop(served);
    assert_eq!(order.iter().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

/// How many threads this library has in this process now.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("sandboxset-")).count()
}

#[test]
fn a_thousand_tasks_share_four_sandboxes_in_order_and_without_a_thread_each() {
    const TASKS: usize = 1000;
    let (set, mock) = set(Config { max_size: 4, max_waiters: TASKS, ..Config::default() });
    let held: Vec<SandboxRef> = (0..4).map(|_| get(&set)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (order, most_threads) = runtime.block_on(async {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let most_threads = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..TASKS {
            let (set, order, most_threads) = (set.clone(), Arc::clone(&order), Arc::clone(&most_threads));
            tasks.spawn(async move {
                let sandbox = set.get_or_create_unpaused_async(patient()).await.unwrap();
                order.lock().unwrap().push(number);
                most_threads.fetch_max(threads(), Ordering::Relaxed);
                tokio::task::yield_now().await;
                sandbox.put().unwrap();
            });
        }
        while set.stats().waiting < TASKS {
            tokio::task::yield_now().await;
        }
        drop(held);
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        (std::mem::take(&mut *order.lock().unwrap()), most_threads.load(Ordering::Relaxed))
    });
    assert_eq!(order, (0..TASKS).collect::<Vec<_>>());
    // Four creates at the most at once, and the timer; other tests of this process have some too.
    assert!(most_threads < TASKS / 4, "{most_threads} threads");
    let stats = set.stats();
    assert_eq!((stats.held, stats.waiting, mock.most_live()), (0, 0, 4));
    check(&stats);
}

#[test]
fn a_task_that_is_dropped_anywhere_on_its_way_loses_nothing() {
    let (set, mock) = set(one());
    // Before it was polled.
    drop(set.get_or_create_unpaused_async(patient()));
    // While its sandbox is being created.
    mock.fault_at(MockOperation::Create, 1, MockFault::Hang);
    let mut task = ByHand::new(set.get_or_create_unpaused_async(patient()));
    assert!(task.poll().is_pending());
    assert!(mock.wait_for_hangs(MockOperation::Create, 1, HANG));
    drop(task);
    assert_eq!((set.stats().waiting, set.stats().creating), (0, 1));
    mock.release_hangs();
    until(&set, "idle", |stats| stats.idle == 1);
    // In the queue.
    let held = get(&set);
    let mut task = ByHand::new(set.get_or_create_unpaused_async(patient()));
    assert!(task.poll().is_pending());
    assert_eq!(set.stats().waiting, 1);
    drop(task);
    assert_eq!(set.stats().waiting, 0);
    // With a sandbox for it that it never saw.
    let mut task = ByHand::new(set.get_or_create_unpaused_async(patient()));
    assert!(task.poll().is_pending());
    held.put().unwrap();
    task.await_alarm();
    assert_eq!(set.stats().idle, 0);
    drop(task);
    assert_eq!((set.stats().idle, set.stats().held), (1, 0));
    // With a sandbox.
    let sandbox = block_on(set.get_or_create_unpaused_async(patient())).unwrap();
    assert!(sandbox.reused());
    drop(sandbox);
    assert_eq!((mock.calls(MockOperation::Create), set.stats().idle), (1, 1));
    check(&set.stats());
}

#[test]
fn a_get_that_was_begun_finds_what_is_idle_or_goes_on() {
    let (set, mock) = set(one());
    let begin = |options| match set.begin_get(options).unwrap() {
        FirstLook::Found(sandbox) => Ok(sandbox),
        FirstLook::NotYet(rest) => Err(rest),
    };
    // Nothing was idle: one is made, once somebody awaits it.
    let rest = begin(patient()).err().unwrap();
    assert_eq!((mock.calls(MockOperation::Create), set.stats().waiting), (0, 0));
    block_on(rest).unwrap().put().unwrap();
    let held = begin(patient()).ok().unwrap();
    assert_eq!((held.uses(), mock.calls(MockOperation::Create)), (2, 1));
    // All are held: it waits like any other, and is alone in the queue although others were begun and dropped.
    drop(begin(patient()).err().unwrap());
    let mut waiting = ByHand::new(begin(patient()).err().unwrap());
    assert!(waiting.poll().is_pending());
    assert_eq!(set.stats().waiting, 1);
    held.put().unwrap();
    let Poll::Ready(Ok(held)) = waiting.poll() else { panic!("it was handed over") };
    // Its time is that of its begin.
    let late = begin(within(Duration::from_nanos(1))).err().unwrap();
    assert_eq!(code(block_on(late)), ErrorCode::Timeout);
    held.put().unwrap();
    // One that was useless is not tried again, and is the reason of the miss.
    mock.fault_always(MockOperation::Unpause, Some(MockFault::Fail("stuck".into())));
    let rest = begin(patient()).err().unwrap();
    mock.fault_always(MockOperation::Unpause, None);
    drop(block_on(rest).unwrap());
    assert!(set.stats().misses.contains(&(MissReason::Unhealthy, 1)), "{:?}", set.stats().misses);
    // What is wrong is said at once.
    let cancel = CancelToken::new();
    cancel.cancel();
    let options = GetOptions { cancel: Some(cancel), ..patient() };
    assert_eq!(code(set.begin_get(options)), ErrorCode::Cancelled);
    check(&set.stats());
}

#[test]
fn a_drop_that_races_the_hand_over_loses_nothing() {
    let (set, _mock) = set(one());
    for _ in 0..1500 {
        let held = get(&set);
        let mut task = ByHand::new(set.get_or_create_unpaused_async(patient()));
        assert!(task.poll().is_pending());
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                drop(task);
            });
            barrier.wait();
            held.put().unwrap();
        });
        let stats = set.stats();
        assert_eq!((stats.idle, stats.held, stats.waiting, stats.resuming), (1, 0, 0, 0));
        check(&stats);
    }
}

#[test]
fn a_wait_ends_by_deadline_cancel_or_close_as_that_of_a_thread_does() {
    let (mock, clock) = (MockBackend::new(), ManualClock::new());
    let config = Config { clock: Clock::Manual(Arc::clone(&clock)), ..one() };
    let set = SandboxSet::new(Arc::new(mock), SandboxSpec::default(), config).unwrap();
    let held = get(&set);
    assert_eq!(code(block_on(set.get_or_create_unpaused_async(now()))), ErrorCode::Timeout);

    let mut late = ByHand::new(set.get_or_create_unpaused_async(within(Duration::from_secs(5))));
    assert!(late.poll().is_pending());
    clock.advance(Duration::from_secs(4));
    assert!(late.poll().is_pending());
    clock.advance(Duration::from_secs(1));
    late.await_alarm();
    let Poll::Ready(Err(error)) = late.poll() else { panic!("it goes on") };
    assert!(error.code() == ErrorCode::Timeout && error.message().contains("1 held"), "{error}");
    assert_eq!(clock.scheduled(), 0);

    let cancel = CancelToken::new();
    let options = GetOptions { cancel: Some(cancel.clone()), ..patient() };
    let mut cancelled = ByHand::new(set.get_or_create_unpaused_async(options.clone()));
    assert!(cancelled.poll().is_pending());
    cancel.cancel();
    cancelled.await_alarm();
    assert!(matches!(cancelled.poll(), Poll::Ready(Err(error)) if error.code() == ErrorCode::Cancelled));
    assert_eq!(code(block_on(set.get_or_create_unpaused_async(options))), ErrorCode::Cancelled);

    let mut closed = ByHand::new(set.get_or_create_unpaused_async(patient()));
    assert!(closed.poll().is_pending());
    drop(held);
    let mut last = ByHand::new(set.get_or_create_unpaused_async(patient()));
    assert!(last.poll().is_pending());
    assert!(matches!(closed.poll(), Poll::Ready(Ok(_))));
    assert_eq!(set.stats().timeouts, 2);
}

#[test]
fn a_close_fails_tasks_that_wait_and_answers_as_a_task() {
    let (set, mock) = set(one());
    let held = get(&set);
    let mut waiting = ByHand::new(set.get_or_create_unpaused_async(patient()));
    assert!(waiting.poll().is_pending());
    let mut closing = ByHand::new(set.close_async(HANG));
    assert!(closing.poll().is_pending());
    waiting.await_alarm();
    assert!(matches!(waiting.poll(), Poll::Ready(Err(error)) if error.code() == ErrorCode::Closed));
    held.put().unwrap();
    closing.await_alarm();
    let Poll::Ready(Ok(report)) = closing.poll() else { panic!("it does not close") };
    assert_eq!((report.survivors.len(), mock.live()), (0, 0));
    assert_eq!(code(block_on(set.get_or_create_unpaused_async(patient()))), ErrorCode::Closed);
}

#[test]
fn an_answer_is_given_once() {
    let (set, _mock) = set(one());
    let mut task = ByHand::new(set.get_or_create_unpaused_async(patient()));
    let sandbox = loop {
        if let Poll::Ready(sandbox) = task.poll() {
            break sandbox.unwrap();
        }
        task.await_alarm();
    };
    assert!(matches!(task.poll(), Poll::Ready(Err(error)) if error.code() == ErrorCode::InvalidState));
    let mut exec = ByHand::new(sandbox.exec_async(Command::new(["true"])));
    while exec.poll().is_pending() {
        exec.await_alarm();
    }
    assert!(matches!(exec.poll(), Poll::Ready(Err(error)) if error.code() == ErrorCode::InvalidState));
}

#[test]
fn a_task_that_is_dropped_cancels_what_its_worker_waits_for() {
    let (set, _mock) = set(one());
    let sandbox = block_on(set.get_or_create_unpaused_async(patient())).unwrap();
    assert!(block_on(sandbox.exec_async(Command::new(["true"]))).unwrap().success());
    let mut command = Command::new(["cat"]);
    command.stdin = Stdin::Stream;
    let process = Arc::new(block_on(sandbox.spawn_async(command)).unwrap());
    let cancel = CancelToken::new();
    let mut cancelled = ByHand::new(process.wait_async(HANG, Some(&cancel)));
    let mut dropped = ByHand::new(process.wait_async(HANG, None));
    assert!(cancelled.poll().is_pending() && dropped.poll().is_pending());
    cancel.cancel();
    cancelled.await_alarm();
    assert!(matches!(cancelled.poll(), Poll::Ready(Err(error)) if error.code() == ErrorCode::Cancelled));
    drop(dropped);
    // The workers are gone long before their time, and the command still runs.
    let start = std::time::Instant::now();
    while Arc::strong_count(&process) > 1 {
        assert!(start.elapsed() < HANG / 2, "a worker goes on waiting");
        thread::yield_now();
    }
    block_on(process.write_stdin_async(b"word".to_vec(), HANG)).unwrap();
    process.close_stdin().unwrap();
    assert!(block_on(process.wait_async(HANG, None)).unwrap().success());
}

#[test]
fn a_put_while_a_call_is_under_way_destroys_the_sandbox_and_ends_the_call() {
    let (set, mock) = set(one());
    let sandbox = get(&set);
    mock.fault_at(MockOperation::Exec, 1, MockFault::Hang);
    let mut exec = ByHand::new(sandbox.exec_async(Command::new(["sleep"])));
    assert!(exec.poll().is_pending());
    assert!(mock.wait_for_hangs(MockOperation::Exec, 1, HANG));
    sandbox.put().unwrap();
    exec.await_alarm();
    assert!(matches!(exec.poll(), Poll::Ready(Err(error)) if error.code() == ErrorCode::SandboxDead));
    until(&set, "destroyed", |stats| stats.destroyed == 1);
    assert_eq!(code(block_on(sandbox.exec_async(Command::new(["true"])))), ErrorCode::StaleRef);
}

#[test]
fn a_task_with_a_late_binding_that_is_dropped_puts_the_sandbox() {
    let (set, mock) = set(one());
    drop(get(&set));
    let binding = LateBinding {
        secrets: vec![("token".into(), Secret::new(b"hush".to_vec()))],
        ..LateBinding::default()
    };
    let options = GetOptions { binding: Some(binding), ..patient() };
    drop(block_on(set.get_or_create_unpaused_async(options.clone())).unwrap());
    until(&set, "idle", |stats| stats.held + stats.returning == 0);
    mock.fault_always(MockOperation::Bind, Some(MockFault::Hang));
    let mut task = ByHand::new(set.get_or_create_unpaused_async(options));
    assert!(task.poll().is_pending());
    if set.stats().waiting == 0 {
        assert!(mock.wait_for_hangs(MockOperation::Bind, 1, HANG));
    }
    drop(task);
    mock.release_hangs();
    until(&set, "settled", |stats| stats.held + stats.returning + stats.resuming + stats.creating == 0);
    check(&set.stats());
}

#[test]
fn a_put_at_once_leaves_a_slow_pause_to_a_worker() {
    let (set, mock) = set(one());
    assert!(get(&set).put_at_once().unwrap().is_none());
    assert_eq!((set.stats().idle, mock.paused()), (1, 1));
    let sandbox = get(&set);
    mock.fault_always(MockOperation::Pause, Some(MockFault::Hang));
    let rest = sandbox.put_at_once().unwrap().unwrap();
    assert_eq!(code(sandbox.put_at_once()), ErrorCode::StaleRef);
    assert!(mock.wait_for_hangs(MockOperation::Pause, 1, HANG));
    assert_eq!(set.stats().idle, 0);
    mock.release_hangs();
    block_on(rest).unwrap();
    assert_eq!((set.stats().idle, mock.paused(), mock.live()), (1, 1, 1));

    mock.fault_always(MockOperation::Pause, Some(MockFault::Fail("stuck".into())));
    // What is left is done although nobody waits for it.
    drop(get(&set).put_at_once().unwrap());
    until(&set, "destroyed", |stats| stats.destroyed == 1);
    assert_eq!(mock.live(), 0);
    check(&set.stats());
}

#[test]
fn a_put_at_once_hands_over_to_who_waits_and_takes_back_what_was_bound() {
    let (set, mock) = set(one());
    let held = get(&set);
    let mut waiting = ByHand::new(set.get_or_create_unpaused_async(patient()));
    assert!(waiting.poll().is_pending());
    assert!(held.put_at_once().unwrap().is_none());
    waiting.await_alarm();
    let Poll::Ready(Ok(sandbox)) = waiting.poll() else { panic!("it goes on") };
    assert_eq!(mock.calls(MockOperation::Pause), 0);
    assert!(sandbox.put_at_once().unwrap().is_none());

    let limits = LateLimits { pids: Some(2), ..LateLimits::default() };
    let binding = LateBinding { limits, ..LateBinding::default() };
    let options = GetOptions { binding: Some(binding), ..patient() };
    let bound = block_on(set.get_or_create_unpaused_async(options)).unwrap();
    block_on(bound.put_at_once().unwrap().unwrap()).unwrap();
    assert_eq!(set.stats().idle, 1);
    assert_eq!(mock.calls(MockOperation::Unbind), 1);
}

#[test]
fn one_handle_of_a_connection_reads_while_another_writes() {
    use std::io::{Read, Write};
    let (set, _mock) = set(one());
    let sandbox = get(&set);
    let mut writer = block_on(sandbox.connect_async(HANG, None)).unwrap();
    let mut reader = writer.try_clone().unwrap();
    let interrupt = reader.interrupter().unwrap();
    thread::scope(|scope| {
        let answer = scope.spawn(move || {
            let mut answer = [0; 6];
            reader.read_exact(&mut answer).unwrap();
            (answer, reader)
        });
        writer.write_all(b"\x02\0\0\0ab").unwrap();
        let (answer, mut reader) = answer.join().unwrap();
        assert_eq!(&answer, b"\x02\0\0\0ab");
        let end = scope.spawn(move || reader.read(&mut [0; 1]).is_err());
        interrupt();
        assert!(end.join().unwrap());
    });
    assert!(writer.write(b"x").is_err());
}
