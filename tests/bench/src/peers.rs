//! The peers that run inside this process, and bubblewrap.

use std::convert::Infallible;
use std::hint::black_box;
use std::io;
use std::path::Path;

use bb8::ManageConnection;
use deadpool::managed::{self, Manager, Metrics, RecycleResult};

use crate::floor::Program;
use crate::measure::{Contender, Failure, Worker};

/// deadpool's managed pool over a manager that does nothing.
pub(crate) struct Deadpool {
    pool: managed::Pool<Nothing>,
    _held: Vec<managed::Object<Nothing>>,
}

/// bb8's pool over a manager that does nothing.
pub(crate) struct Bb8 {
    _held: Vec<bb8::PooledConnection<'static, Nothing>>,
    pool: bb8::Pool<Nothing>,
    // Dropped last: the pool's own tasks are on it.
    _runtime: tokio::runtime::Runtime,
}

/// A manager whose resource costs nothing.
#[derive(Debug)]
pub(crate) struct Nothing;

impl Manager for Nothing {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn recycle(&self, _: &mut u64, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

impl ManageConnection for Nothing {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

impl Deadpool {
    /// A pool of which `held` objects are taken and stay so, with place for `threads` more.
    pub(crate) fn new(threads: usize, held: usize) -> Result<Self, Failure> {
        let pool = managed::Pool::builder(Nothing)
            .max_size(held + threads)
            .build()
            .map_err(|error| format!("deadpool: {error}"))?;
        let held = (0..held)
            .map(|_| pollster::block_on(pool.get()).map_err(|error| format!("deadpool: {error}")))
            .collect::<Result<_, _>>()?;
        Ok(Deadpool { pool, _held: held })
    }
}

impl Contender for Deadpool {
    fn name(&self) -> &'static str {
        "deadpool"
    }

    /// Enters the executor once per batch, which is in the peer's favour.
    fn worker(&self) -> Result<Worker<'_>, Failure> {
        Ok(Box::new(|ops| {
            pollster::block_on(async {
                for _ in 0..ops {
                    drop(black_box(self.pool.get().await.map_err(|error| error.to_string())?));
                }
                Ok(())
            })
        }))
    }
}

impl Bb8 {
    /// A pool of which `held` connections are taken and stay so, with place for `threads` more.
    pub(crate) fn new(threads: usize, held: usize) -> Result<Self, Failure> {
        let runtime = new_runtime()?;
        let size = u32::try_from(held + threads).map_err(|error| error.to_string())?;
        let text = |error| format!("bb8: {error}");
        let pool = runtime
            .block_on(bb8::Pool::builder().max_size(size).min_idle(size).build(Nothing))
            .map_err(|error| format!("bb8: {error}"))?;
        let held =
            (0..held).map(|_| runtime.block_on(pool.get_owned()).map_err(text)).collect::<Result<_, _>>()?;
        Ok(Bb8 { _held: held, pool, _runtime: runtime })
    }
}

impl Contender for Bb8 {
    fn name(&self) -> &'static str {
        "bb8"
    }

    /// Enters the executor, one of this thread alone, once per batch, which is in the peer's favour.
    fn worker(&self) -> Result<Worker<'_>, Failure> {
        let runtime = new_runtime()?;
        Ok(Box::new(move |ops| {
            runtime.block_on(async {
                for _ in 0..ops {
                    drop(black_box(self.pool.get().await.map_err(|error| error.to_string())?));
                }
                Ok(())
            })
        }))
    }
}

fn new_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| format!("tokio: {error}"))
}

/// Where bubblewrap is, if it is installed.
pub(crate) fn bubblewrap() -> Option<&'static str> {
    ["/usr/bin/bwrap", "/usr/local/bin/bwrap"].into_iter().find(|path| Path::new(path).exists())
}

/// bubblewrap running `/usr/bin/true` in isolation comparable to a sandbox's: all namespaces, no capabilities, the
/// host's programs read-only, fresh /proc and /dev, tmpfs /tmp and /scratch, an empty environment. It sets no
/// limits and no seccomp filter, which is in its favour.
pub(crate) fn bubblewrap_true(bwrap: &str) -> io::Result<Program> {
    let mut args = vec![bwrap, "--unshare-all", "--die-with-parent", "--new-session"];
    args.extend(["--cap-drop", "ALL", "--clearenv", "--ro-bind", "/usr", "/usr"]);
    let links: Vec<(String, &str)> = ["/bin", "/lib", "/lib64"]
        .into_iter()
        .filter_map(|path| Some((std::fs::read_link(path).ok()?.to_string_lossy().into_owned(), path)))
        .collect();
    for (target, path) in &links {
        args.extend(["--symlink", target, path]);
    }
    args.extend(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/scratch"]);
    args.extend(["--chdir", "/scratch", "/usr/bin/true"]);
    Program::new(&args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Rounds, interleaved};

    #[test]
    fn peers_serve_two_threads_while_others_are_held() {
        let (deadpool, bb8) = (Deadpool::new(2, 50).unwrap(), Bb8::new(2, 50).unwrap());
        let rounds = Rounds { rounds: 3, batches: 20, ops: 100, pause: None };
        let samples = interleaved(&[&deadpool, &bb8], 2, rounds).unwrap();
        for samples in samples {
            assert!(samples.count() >= 60);
            assert_eq!(samples.failures, 0);
            println!("{:?} ns", samples.quantile_ns(0.5));
        }
    }

    #[test]
    fn bubblewrap_runs_true() {
        let Some(bwrap) = bubblewrap() else {
            println!("SKIPPED: bubblewrap is not installed");
            return;
        };
        bubblewrap_true(bwrap).unwrap().spawn_and_wait().unwrap();
    }
}
