//! The users of the host that sandboxes may run as.

use std::fs;

/// The host ids of sandboxes begin here: far above those of people, services and the sub-ids that container tools
/// hand out.
pub const FIRST_HOST_ID: u32 = 2_000_000_000;
/// How many there are.
pub const HOST_IDS: u32 = 16384 * 8192;

const SETGID: u32 = 6;
const SETUID: u32 = 7;

/// Whether this process may give sandboxes users and groups of the reserved range: it is root, has the capabilities
/// for it, and its own user namespace knows them, which that of a rootless container does not.
pub fn may_map_other_users() -> bool {
    let file = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    rustix::process::geteuid().is_root()
        && covers(&file("uid_map"))
        && covers(&file("gid_map"))
        && may_set_ids(&file("status"))
}

fn covers(map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (Some(inside), Some(_), Some(count)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        let (first, end) = (u64::from(FIRST_HOST_ID), u64::from(FIRST_HOST_ID) + u64::from(HOST_IDS));
        inside <= first && end <= inside + count
    })
}

fn may_set_ids(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    [SETGID, SETUID].into_iter().all(|capability| held & (1 << capability) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_map_with_the_whole_range_covers_it() {
        assert!(covers("         0          0 4294967295\n"));
        assert!(covers("0 1000 1\n1 100000 4000000000\n"));
        assert!(!covers("0 1000 1\n1 100000 65536\n"));
        assert!(!covers("2000000001 0 1000000000\n"));
        assert!(!covers(""));
    }

    #[test]
    fn both_capabilities_are_wanted() {
        assert!(may_set_ids("Name:\tx\nCapEff:\t00000000000000c0\n"));
        assert!(!may_set_ids("CapEff:\t0000000000000080\n"));
        assert!(!may_set_ids(""));
    }
}
