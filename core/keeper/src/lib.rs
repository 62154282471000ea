//! What the host process and the keeper share: the wire types, the frames that carry them, the identity of an
//! owner and the bounded removal of directory trees.
//!
//! Three parties talk over `SOCK_SEQPACKET` sockets: the host with its keeper ([`ToKeeper`], [`FromKeeper`]), and
//! the host with each sandbox's init ([`ToInit`], [`FromInit`]). What comes from an init is treated as hostile,
//! because code in the sandbox may have taken it over.

mod frame;
mod host_users;
mod owner;
mod remove_tree;
mod wire;

pub use frame::{FrameError, MAX_INLINE, receive, receive_untrusted, sealed_memfd, send};
pub use host_users::{FIRST_HOST_ID, HOST_IDS, may_map_other_users};
pub use owner::Owner;
pub use remove_tree::{empty_tree, remove_tree};
pub use wire::*;
