//! Small OCI image layouts for tests, also broken and evil ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// A directory for one test, gone with it.
pub(crate) struct Arena(pub(crate) PathBuf);

impl Arena {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("oci-{}-{number}-{name}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Arena(dir)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.0.join("layout"))
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tar archive under construction.
#[derive(Clone, Default)]
pub(crate) struct Layer(pub(crate) Vec<u8>);

impl Layer {
    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(name, EntryType::Directory, "", b"", mode)
    }

    pub(crate) fn file(self, name: &str, data: &[u8], mode: u32) -> Self {
        self.entry(name, EntryType::Regular, "", data, mode)
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, target, b"", 0o777)
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Link, target, b"", 0o644)
    }

    /// Names go in as they are, however evil.
    pub(crate) fn entry(self, name: &str, kind: EntryType, link: &str, data: &[u8], mode: u32) -> Self {
        self.sized(name, kind, link, data, mode, data.len() as u64)
    }

    /// An entry that says it has `size` bytes.
    pub(crate) fn sized(
        mut self,
        name: &str,
        kind: EntryType,
        link: &str,
        data: &[u8],
        mode: u32,
        size: u64,
    ) -> Self {
        let mut header = Header::new_gnu();
        if name.len() > 100 {
            self = self.entry(
                "././@LongLink",
                EntryType::GNULongName,
                "",
                format!("{name}\0").as_bytes(),
                0o644,
            );
        }
        let old = header.as_old_mut();
        old.name[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_000_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The archive with its end.
    pub(crate) fn tar(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    pub(crate) fn tar_gz(self) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&self.tar()).unwrap();
        encoder.finish().unwrap()
    }
}

pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    manifests: Vec<String>,
}

impl Layout {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Layout { dir, manifests: Vec::new() }
    }

    /// Adds an image of uncompressed layers; answers the paths of their blobs.
    pub(crate) fn image(&mut self, tag: Option<&str>, layers: &[Layer]) -> Vec<PathBuf> {
        let layers: Vec<_> = layers.iter().map(|layer| (layer.clone().tar(), "tar")).collect();
        self.image_of(tag, &layers, &arch())
    }

    /// Adds an image; answers the paths of its layers' blobs.
    pub(crate) fn image_of(
        &mut self,
        tag: Option<&str>,
        layers: &[(Vec<u8>, &str)],
        arch: &str,
    ) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut descriptors = Vec::new();
        for (bytes, kind) in layers {
            let (descriptor, path) =
                self.blob(bytes, &format!("application/vnd.oci.image.layer.v1.{kind}"), "");
            descriptors.push(descriptor);
            paths.push(path);
        }
        let config =
            format!(r#"{{"os":"linux","architecture":"{arch}","rootfs":{{"type":"layers","diff_ids":[]}}}}"#);
        let (config, _) = self.blob(config.as_bytes(), "application/vnd.oci.image.config.v1+json", "");
        let manifest =
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, descriptors.join(","));
        let tag = tag.map_or(String::new(), |tag| {
            format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}"#)
        });
        let more = format!(r#","platform":{{"os":"linux","architecture":"{arch}"}}{tag}"#);
        let (manifest, _) =
            self.blob(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json", &more);
        self.manifests.push(manifest);
        self.write_index();
        paths
    }

    fn write_index(&self) {
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, self.manifests.join(","));
        fs::write(self.dir.join("index.json"), index).unwrap();
    }

    fn blob(&self, bytes: &[u8], kind: &str, more: &str) -> (String, PathBuf) {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.dir.join("blobs/sha256").join(&hex);
        fs::write(&path, bytes).unwrap();
        let size = bytes.len();
        (format!(r#"{{"mediaType":"{kind}","digest":"sha256:{hex}","size":{size}{more}}}"#), path)
    }
}

/// This machine's, as images name it.
pub(crate) fn arch() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "amd64".into(),
        "aarch64" => "arm64".into(),
        other => other.into(),
    }
}

/// Everything below a directory: the path, and what it is or holds.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                found.push(format!("{name}/"));
                dirs.push(path);
            } else if metadata.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else {
                found.push(format!("{name}={}", String::from_utf8_lossy(&fs::read(&path).unwrap())));
            }
        }
    }
    found.sort();
    found
}
