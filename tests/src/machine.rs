//! The machine that the tests run on, and the randomness that they print.

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A number from the environment, or its default; printed, so that a run can be repeated.
pub fn setting(name: &str, default: u64) -> u64 {
    let value = match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    };
    println!("{name}={value}");
    value
}

/// The seed of a run: given by `SANDBOXSET_TEST_SEED`, else new each time; printed either way.
pub fn seed() -> u64 {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).unwrap();
    setting("SANDBOXSET_TEST_SEED", u64::from_ne_bytes(random) >> 1)
}

/// Repeatable randomness: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}

/// An ordinary user, to whom root can hand a test.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// An ordinary user who runs nothing else, if the caller is root.
pub fn ordinary_user() -> Option<User> {
    // Ids without a name, above those of people and below those that the keeper hands out.
    let id = 1_500_000_000 + std::process::id();
    is_root().then_some(User { uid: id, gid: id })
}

/// Half, 99 % and all of the measurements are at most this; in milliseconds.
pub fn percentiles(times: &mut [std::time::Duration]) -> String {
    if times.is_empty() {
        return "n=0".to_owned();
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    format!("n={} p50={:.1} ms p99={:.1} ms max={:.1} ms", times.len(), at(0.5), at(0.99), at(1.0))
}
