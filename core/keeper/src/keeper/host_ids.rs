//! The users of the host that sandboxes run as.

use sandboxset_keeper::{FIRST_HOST_ID, Failure, HOST_IDS, may_map_other_users};

/// Gives every live sandbox a host user id of its own, where we may.
pub(super) struct HostIds {
    base: Option<u32>,
    in_use: Vec<bool>,
}

/// How many sandboxes one keeper can tell apart by user id.
const ID_BLOCK: u32 = 8192;
/// How many blocks there are; two keepers seldom share one, because each picks its own by chance.
const ID_BLOCKS: u32 = HOST_IDS / ID_BLOCK;

impl HostIds {
    pub(super) fn new() -> Self {
        if !rustix::process::geteuid().is_root() {
            return HostIds { base: None, in_use: Vec::new() };
        }
        // The supplementary groups of a privileged user are nobody's business inside.
        let _ = rustix::thread::set_thread_groups(&[]);
        if !may_map_other_users() {
            return HostIds { base: None, in_use: Vec::new() };
        }
        let mut random = [0u8; 4];
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        let block = u32::from_ne_bytes(random) % ID_BLOCKS;
        HostIds { base: Some(FIRST_HOST_ID + block * ID_BLOCK), in_use: Vec::new() }
    }

    pub(super) fn take(&mut self) -> Result<Option<u32>, Failure> {
        let Some(base) = self.base else { return Ok(None) };
        let index = self.in_use.iter().position(|used| !used).unwrap_or(self.in_use.len());
        if index as u32 >= ID_BLOCK {
            return Err(Failure {
                step: format!("find a free user id: {ID_BLOCK} sandboxes live"),
                errno: 0,
            });
        }
        if index == self.in_use.len() {
            self.in_use.push(false);
        }
        self.in_use[index] = true;
        Ok(Some(base + index as u32))
    }

    /// All ids that this keeper gives out: the first, and how many.
    pub(super) fn block(&self) -> Option<(u32, u32)> {
        self.base.map(|base| (base, ID_BLOCK))
    }

    pub(super) fn release(&mut self, id: Option<u32>) {
        if let (Some(base), Some(id)) = (self.base, id)
            && let Some(used) = self.in_use.get_mut((id - base) as usize)
        {
            *used = false;
        }
    }
}
