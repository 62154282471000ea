//! The environment of what runs in a sandbox: ours, then the spec's, then the command's.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use sandboxset_keeper::{Bytes, RUNTIME_SOCKET};

/// What every command has unless the spec or the command says otherwise.
const DEFAULTS: [(&str, &str); 3] =
    [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/scratch"), ("LANG", "C.UTF-8")];

/// Variables as `KEY=value`, prepared once for every command of a sandbox.
pub(super) struct Environment(Vec<Bytes>);

impl Environment {
    pub(super) fn new(spec: &[(OsString, OsString)]) -> Self {
        let defaults = DEFAULTS.map(|(key, value)| (key.into(), value.into()));
        Environment(merge(merge(Vec::new(), &defaults), spec))
    }

    /// With more variables on top.
    pub(super) fn with(&self, more: &[(OsString, OsString)]) -> Vec<Bytes> {
        merge(self.0.clone(), more)
    }

    /// For the runtime, which is told where to listen.
    pub(super) fn for_runtime(&self, more: &[(OsString, OsString)]) -> Vec<Bytes> {
        let socket = [("SANDBOXSET_SOCKET".into(), RUNTIME_SOCKET.into())];
        merge(merge(self.0.clone(), &socket), more)
    }
}

fn merge(mut env: Vec<Bytes>, more: &[(OsString, OsString)]) -> Vec<Bytes> {
    for (key, value) in more {
        let mut variable = Vec::with_capacity(key.len() + value.len() + 1);
        variable.extend_from_slice(key.as_bytes());
        variable.push(b'=');
        let key_length = variable.len();
        variable.extend_from_slice(value.as_bytes());
        match env.iter_mut().find(|old| old.starts_with(&variable[..key_length])) {
            Some(old) => *old = variable,
            None => env.push(variable),
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_value_of_a_key_wins_and_no_key_is_twice() {
        let spec = [("HOME".into(), "/spec".into()), ("A".into(), "1".into())];
        let env = Environment::new(&spec).with(&[("A".into(), "2=3".into()), ("AB".into(), "".into())]);
        let text: Vec<_> = env.iter().map(|variable| String::from_utf8_lossy(variable)).collect();
        assert_eq!(text, ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/spec", "LANG=C.UTF-8", "A=2=3", "AB="]);
    }
}
