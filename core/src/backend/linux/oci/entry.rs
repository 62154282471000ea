//! Names in a layer: what they mean, and which are refused. Pure, so that any bytes can be tried on it.

/// The longest path and link target, as the kernel has it.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;
/// Deeper than any program's tree, shallow enough that no walk over it is a burden.
const MAX_DEPTH: usize = 128;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const RESERVED: &[u8] = b".wh..wh.";

/// A path below the root of the image: never empty, never with `.` or `..` or a leading slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryPath(Vec<u8>);

/// What the name of an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The root directory itself.
    Root,
    /// Something to make.
    Path(EntryPath),
    /// `.wh.x`: what the layers below have under this path is gone.
    Whiteout(EntryPath),
    /// `.wh..wh..opq`: what the layers below have in this directory is gone; `None` is the root.
    Opaque(Option<EntryPath>),
    /// Bookkeeping of the tool that made the layer, which means nothing.
    Ignored,
}

/// Why a name is refused.
pub(super) type Refusal = &'static str;

impl EntryPath {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path of the directory it is in, empty for the root, and its name there.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (b"", &self.0),
        }
    }
}

/// Reads the name of an entry.
pub(super) fn read_name(bytes: &[u8]) -> Result<Name, Refusal> {
    let Some(path) = read_path(bytes)? else { return Ok(Name::Root) };
    let (dir, name) = path.split();
    if dir.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err("a directory on the path has the name of a whiteout");
    }
    if name == OPAQUE {
        return Ok(Name::Opaque((!dir.is_empty()).then(|| EntryPath(dir.to_vec()))));
    }
    if name.starts_with(RESERVED) {
        return Ok(Name::Ignored);
    }
    let Some(gone) = name.strip_prefix(WHITEOUT) else { return Ok(Name::Path(path)) };
    if matches!(gone, b"" | b"." | b"..") {
        return Err("the whiteout names no entry");
    }
    let mut target = dir.to_vec();
    if !dir.is_empty() {
        target.push(b'/');
    }
    target.extend_from_slice(gone);
    Ok(Name::Whiteout(EntryPath(target)))
}

/// Reads a path; `None` is the root itself.
pub(super) fn read_path(bytes: &[u8]) -> Result<Option<EntryPath>, Refusal> {
    if bytes.is_empty() {
        return Err("the path is empty");
    }
    if bytes.len() > MAX_PATH {
        return Err("the path is longer than 4095 bytes");
    }
    if bytes.contains(&0) {
        return Err("the path contains a NUL byte");
    }
    if bytes[0] == b'/' {
        return Err("the path is absolute");
    }
    let mut path = Vec::with_capacity(bytes.len());
    let mut depth = 0;
    for part in bytes.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err("the path contains .."),
            _ => {}
        }
        if part.len() > MAX_NAME {
            return Err("a name on the path is longer than 255 bytes");
        }
        depth += 1;
        if depth > MAX_DEPTH {
            return Err("the path is deeper than 128 names");
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    Ok((!path.is_empty()).then_some(EntryPath(path)))
}

/// Checks what a symbolic link points to. It may point anywhere: only the sandbox ever follows it.
pub(super) fn check_link_target(target: &[u8]) -> Result<(), Refusal> {
    if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
        return Err("the target of the link is empty, longer than 4095 bytes or contains a NUL byte");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath(text.as_bytes().to_vec())
    }

    #[test]
    fn names_are_read() {
        for (text, name) in [
            ("./", Name::Root),
            (".", Name::Root),
            ("./a//b/./c/", Name::Path(path("a/b/c"))),
            ("...", Name::Path(path("..."))),
            (".whx", Name::Path(path(".whx"))),
            (".wh.x", Name::Whiteout(path("x"))),
            ("a/b/.wh.x", Name::Whiteout(path("a/b/x"))),
            (".wh....", Name::Whiteout(path("..."))),
            (".wh..wh..opq", Name::Opaque(None)),
            ("a/.wh..wh..opq", Name::Opaque(Some(path("a")))),
            ("a/.wh..wh.plnk", Name::Ignored),
        ] {
            assert_eq!(read_name(text.as_bytes()), Ok(name), "{text}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = "x".repeat(256);
        let deep = "d/".repeat(129);
        let longest = format!("{}x", "dddddddd/".repeat(455));
        for text in [
            "",
            "/",
            "/a",
            "//a",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "./../a",
            "a\0b",
            ".wh.",
            ".wh..",
            ".wh...",
            "a/.wh...",
            ".wh.a/b",
            "a/.wh..wh..opq/b",
            &long,
            &deep,
            &longest,
        ] {
            assert!(read_name(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        /// Whatever is accepted has only plain names, and stays below the root when it is walked.
        #[test]
        fn what_is_accepted_stays_inside(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                prop::collection::vec(
                    prop_oneof![Just("."), Just(".."), Just(""), Just("a"), Just(".wh."), Just(".wh.."),
                        Just(".wh.a"), Just(".wh..wh..opq"), Just("\0"), Just("..a")],
                    0..8,
                ).prop_map(|parts| parts.join("/").into_bytes()),
            ]
        ) {
            let accepted = match read_name(&bytes) {
                Ok(Name::Path(path) | Name::Whiteout(path) | Name::Opaque(Some(path))) => path,
                _ => return Ok(()),
            };
            prop_assert!(!accepted.bytes().is_empty());
            for part in accepted.bytes().split(|byte| *byte == b'/') {
                prop_assert!(!part.is_empty() && part != b"." && part != b".." && !part.contains(&0));
            }
            // Reading it again changes nothing.
            prop_assert_eq!(read_path(accepted.bytes()), Ok(Some(accepted.clone())));
        }

        /// A path with `..` anywhere, or from the root, is always refused.
        #[test]
        fn what_climbs_is_refused(
            before in prop::collection::vec("[a-z.]{1,3}", 0..4),
            after in prop::collection::vec("[a-z.]{1,3}", 0..4),
            absolute in any::<bool>(),
        ) {
            let mut parts = before;
            if absolute { parts.insert(0, String::new()) } else { parts.push("..".into()) }
            parts.extend(after);
            let text = parts.join("/");
            // An absolute path of no parts at all would be empty, which is refused as well.
            prop_assert!(read_name(text.as_bytes()).is_err());
        }
    }
}
