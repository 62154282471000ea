//! Reading an image layout: `oci-layout`, `index.json`, and blobs, which are never taken without their digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Why an image cannot be used, for people.
pub(super) type Refused = String;

/// An image that was found in a layout.
pub(super) struct Image {
    /// Of its manifest: names exactly this image for ever.
    pub(super) digest: Digest,
    pub(super) layers: Vec<Descriptor>,
}

/// A sha256 in lower-case hex.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Digest(String);

/// Points to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    image_layout_version: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Larger than any index, manifest or config that a tool writes.
const MAX_JSON_BYTES: u64 = 8 << 20;
/// Overlay file systems stop at 500.
const MAX_LAYERS: usize = 500;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const INDEX_TYPES: &[&str] =
    &["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

impl Digest {
    /// Reads `sha256:HEX`. The hex becomes a file name, so nothing else is accepted.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let Some(hex) = text.strip_prefix("sha256:") else {
            return Err(format!("the digest {text:?} is not a sha256"));
        };
        if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!("the digest {text:?} is not 64 lower-case hexadecimal digits"));
        }
        Ok(Digest(hex.to_owned()))
    }

    pub(super) fn hex(&self) -> &str {
        &self.0
    }
}

/// Finds the image of this tag for this machine.
pub(super) fn find(dir: &Path, tag: Option<&str>) -> Result<Image, Refused> {
    let layout: LayoutFile = parse("oci-layout", &read_small(&dir.join("oci-layout"), "oci-layout")?)?;
    if !layout.image_layout_version.starts_with("1.") {
        return Err(format!("the layout has version {:?}, not 1", layout.image_layout_version));
    }
    let index: Index = parse("index.json", &read_small(&dir.join("index.json"), "index.json")?)?;
    let mut chosen = for_this_machine(with_tag(index.manifests, tag)?)?;
    if INDEX_TYPES.contains(&&*chosen.media_type) {
        let inner: Index = read_json(dir, &chosen, "the image index")?;
        chosen = for_this_machine(inner.manifests)?;
        if INDEX_TYPES.contains(&&*chosen.media_type) {
            return Err("an image index inside an image index".into());
        }
    }
    let manifest: Manifest = read_json(dir, &chosen, "the manifest")?;
    let config: Platform = read_json(dir, &manifest.config, "the config")?;
    check_platform(&config)?;
    if manifest.layers.is_empty() || manifest.layers.len() > MAX_LAYERS {
        return Err(format!("the image has {} layers, not 1 to {MAX_LAYERS}", manifest.layers.len()));
    }
    Ok(Image { digest: Digest::parse(&chosen.digest)?, layers: manifest.layers })
}

/// Opens a blob of the size that was promised. Its digest is for the reader to check, see [`Verifier`].
pub(super) fn open_blob(dir: &Path, descriptor: &Descriptor) -> Result<Verifier, Refused> {
    let digest = Digest::parse(&descriptor.digest)?;
    let file = open_regular(&dir.join("blobs/sha256").join(digest.hex()))
        .map_err(|error| format!("blob {}: {error}", descriptor.digest))?;
    let length = file.metadata().map_err(|error| format!("blob {}: {error}", descriptor.digest))?.len();
    if length != descriptor.size {
        return Err(format!("blob {} has {length} bytes, not {}", descriptor.digest, descriptor.size));
    }
    Ok(Verifier { file, digest, hash: Sha256::new(), left: descriptor.size })
}

/// Reads a blob and hashes what it reads, so that what was used is what was verified.
pub(super) struct Verifier {
    file: File,
    digest: Digest,
    hash: Sha256,
    left: u64,
}

impl Read for Verifier {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left.try_into().unwrap_or(usize::MAX));
        let count = self.file.read(&mut buffer[..most])?;
        self.hash.update(&buffer[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

impl Verifier {
    /// Reads what is left and compares.
    pub(super) fn finish(mut self) -> Result<(), Refused> {
        let name = format!("blob sha256:{}", self.digest.hex());
        io::copy(&mut self, &mut io::sink()).map_err(|error| format!("{name}: {error}"))?;
        if self.left > 0 {
            return Err(format!("{name} is truncated by {} bytes", self.left));
        }
        let mut found = String::with_capacity(64);
        for byte in self.hash.finalize() {
            found.push_str(&format!("{byte:02x}"));
        }
        if found != self.digest.hex() {
            return Err(format!("{name} has the digest sha256:{found}"));
        }
        Ok(())
    }
}

fn with_tag(manifests: Vec<Descriptor>, tag: Option<&str>) -> Result<Vec<Descriptor>, Refused> {
    let mut tags: Vec<String> =
        manifests.iter().filter_map(|one| one.annotations.get(REF_NAME).cloned()).collect();
    tags.sort();
    tags.dedup();
    let available = if tags.is_empty() { "none".to_owned() } else { tags.join(", ") };
    let Some(tag) = tag else {
        // Manifests for several platforms are one image if they share their tag, or its absence.
        let untagged = manifests.iter().any(|one| !one.annotations.contains_key(REF_NAME));
        if manifests.is_empty() || tags.len() + usize::from(untagged) > 1 {
            return Err(format!("the layout needs a tag; available: {available}"));
        }
        return Ok(manifests);
    };
    let found: Vec<Descriptor> = manifests
        .into_iter()
        .filter(|one| one.annotations.get(REF_NAME).is_some_and(|name| name == tag))
        .collect();
    if found.is_empty() {
        return Err(format!("the layout has no tag {tag:?}; available: {available}"));
    }
    Ok(found)
}

fn for_this_machine(manifests: Vec<Descriptor>) -> Result<Descriptor, Refused> {
    let mut others = Vec::new();
    for one in manifests {
        match &one.platform {
            Some(platform) if !fits(platform) => {
                others.push(format!("{}/{}", platform.os, platform.architecture))
            }
            _ => return Ok(one),
        }
    }
    Err(format!("there is no image for linux/{}; available: {}", architecture(), others.join(", ")))
}

fn check_platform(platform: &Platform) -> Result<(), Refused> {
    if fits(platform) {
        return Ok(());
    }
    let (os, found) = (&platform.os, &platform.architecture);
    Err(format!("the image is for {os}/{found}, not linux/{}", architecture()))
}

/// What is left open fits.
fn fits(platform: &Platform) -> bool {
    (platform.os.is_empty() || platform.os == "linux")
        && (platform.architecture.is_empty() || platform.architecture == architecture())
}

/// This machine's, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}

fn read_json<T: DeserializeOwned>(dir: &Path, descriptor: &Descriptor, what: &str) -> Result<T, Refused> {
    if descriptor.size > MAX_JSON_BYTES {
        return Err(format!("{what} has {} bytes, more than {MAX_JSON_BYTES}", descriptor.size));
    }
    let mut blob = open_blob(dir, descriptor).map_err(|refused| format!("{what}: {refused}"))?;
    let mut bytes = Vec::new();
    blob.read_to_end(&mut bytes).map_err(|error| format!("{what}: {error}"))?;
    blob.finish().map_err(|refused| format!("{what}: {refused}"))?;
    parse(what, &bytes)
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|error| format!("{what}: {error}"))
}

fn read_small(path: &Path, what: &str) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    let file = open_regular(path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.take(MAX_JSON_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("{what}: {error}"))?;
    if bytes.len() as u64 > MAX_JSON_BYTES {
        return Err(format!("{what} has more than {MAX_JSON_BYTES} bytes"));
    }
    Ok(bytes)
}

/// Opens a regular file and nothing else; a FIFO in its place does not hang us.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}
