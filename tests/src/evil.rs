//! Inits that do not behave, for a host that must survive them.
//!
//! The program `evil_keeper` stands where the keeper should, passes everything on to a real one, and puts itself
//! between the host and the init of the first sandbox of each backend. What it does there, a file beside it says.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::census::{TemporaryDir, temporary_dir};
use crate::strace::copy_keeper;

/// The name of the real keeper beside the program that stands in for it.
pub const KEEPER: &str = "sandboxset-keeper";
/// The name of the file that says how the init is to behave.
pub const SCRIPT: &str = "script";

const STAND_IN: &str = "stand-in";

macro_rules! behaviours {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// How an init can misbehave.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Evil { $($(#[$doc])* $variant,)* }

        impl Evil {
            /// All of them.
            pub const ALL: &'static [Evil] = &[$(Evil::$variant,)*];

            fn parse(name: &str) -> Option<Self> {
                match name { $(stringify!($variant) => Some(Evil::$variant),)* _ => None }
            }
        }
    };
}

behaviours! {
    /// Takes requests and never answers.
    Silent,
    /// Takes no requests.
    Deaf,
    /// Answers long after anybody should want to know.
    Late,
    /// Closes every request without an answer.
    HangsUp,
    /// Closes everything at the first request.
    Leaves,
    /// Says that it began and then closes everything.
    LeavesMidway,
    /// Answers what is an answer to something else.
    Mistakes,
    /// Says that it opened something and sends nothing.
    ForgetsDescriptors,
    /// Sends more than was asked for.
    TooManyDescriptors,
    /// Sends a pipe that nobody will ever write to.
    Pipe,
    /// Sends a socket of a kind that nobody expects.
    DatagramSocket,
    /// Sends a directory of the host.
    HostDirectory,
    /// Sends a mount namespace of the host.
    HostMounts,
    /// Says that commands ended while they run, in impossible ways.
    LiesAboutEnds,
    /// Says twice that a command began.
    BeginsTwice,
    /// Fails with numbers that are none and a text that takes over a terminal.
    FailsOddly,
    /// Answers again and again for as long as anybody listens.
    Floods,
    /// Sends more than fits in a message.
    TooLong,
    /// Sends its answer in a file, which only trusted ends may.
    ByFile,
    /// Sends the first half of an answer.
    HalfFrames,
    /// Sends noise.
    Noise,
    /// Sends nothing at all, as a message.
    EmptyFrames,
    /// Sends a second answer behind the first.
    AnswersTwice,
    /// Ends the sandbox under the request.
    Dies,
}

/// When an init turns evil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the first request.
    AtOnce,
    /// When it is to reset the sandbox.
    AtReset,
    /// At once, and nobody has cgroups, so that the init is asked for what they would do.
    WithoutCgroups,
    /// Before the host is told of the sandbox, which is gone then with all that was made of it; so is the first fork.
    BeforeHandover,
}

/// What the script tells.
pub fn parse(script: &str) -> Option<(Evil, Begin)> {
    let (evil, begin) = script.split_once(' ')?;
    let begins = [Begin::AtOnce, Begin::AtReset, Begin::WithoutCgroups, Begin::BeforeHandover];
    Some((Evil::parse(evil)?, begins.into_iter().find(|other| format!("{other:?}") == begin)?))
}

/// A keeper that gives the first sandbox of each backend an evil init.
#[derive(Debug)]
pub struct EvilKeeper(TemporaryDir);

impl EvilKeeper {
    /// Lays out a stand-in and a real keeper.
    pub fn new(stand_in: &Path, keeper: &Path, evil: Evil, begin: Begin) -> Self {
        // A name that is never used again: a host takes a keeper of the same name for the same keeper.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let dir = temporary_dir(&format!("evil-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        for (program, name) in [(stand_in, STAND_IN), (keeper, KEEPER)] {
            let place = dir.path().join(name);
            // There are many of them, and the one is large.
            std::fs::hard_link(program, &place)
                .or_else(|_| std::fs::copy(program, &place).map(drop))
                .unwrap();
        }
        std::fs::write(dir.path().join(SCRIPT), format!("{evil:?} {begin:?}")).unwrap();
        EvilKeeper(dir)
    }

    /// As `new`, with a real keeper that is copied from one that runs, which only root can.
    pub fn with_own_copy(stand_in: &Path, evil: Evil, begin: Begin) -> Self {
        let dir = temporary_dir("keeper");
        let keeper = dir.path().join(KEEPER);
        copy_keeper(&keeper);
        EvilKeeper::new(stand_in, &keeper, evil, begin)
    }

    /// What to give to the backend as its keeper.
    pub fn program(&self) -> PathBuf {
        self.0.path().join(STAND_IN)
    }
}
