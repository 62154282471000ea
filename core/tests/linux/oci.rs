//! Sandboxes whose root file system is an OCI image.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Command, Config, ErrorCode, GetOptions, Outcome, RootFs, SandboxSet, SandboxSpec, ScratchDirs,
};

use crate::image::{Arena, Layer, arch};
use crate::support::{programs, sandbox_from, sh, shell, skip};

/// An image of this host's programs, without a download.
fn base_layer() -> Option<Layer> {
    let mut layer = Layer::default();
    for file in programs()? {
        let data = fs::read(&file).ok()?;
        // For root alone, as in many an image: flattening makes it everybody's.
        layer = layer.file(file.strip_prefix("/").ok()?.to_str()?, &data, 0o700);
    }
    Some(layer.file("etc/layer", b"lower", 0o600).file("etc/gone", b"lower", 0o644).dir("tmp", 0o700))
}

fn upper_layer() -> Layer {
    Layer::default()
        .file("etc/layer", b"upper", 0o600)
        .file("etc/.wh.gone", b"", 0o644)
        .link("top", "etc/layer")
}

fn backend(arena: &Arena) -> LinuxBackend {
    LinuxBackend::new(LinuxOptions { image_cache: Some(arena.cache()), ..LinuxOptions::default() }).unwrap()
}

/// An arena with the image `img:1` of a gzipped and a plain layer, and its name.
fn arena(name: &str) -> Option<(Arena, RootFs)> {
    let Some(base) = base_layer() else {
        skip("no ldd, or no programs that it knows");
        return None;
    };
    let arena = Arena::new(name);
    let mut layout = arena.layout();
    layout.image_of(Some("img:1"), &[(base.tar_gz(), "tar+gzip"), (upper_layer().tar(), "tar")], &arch());
    let root = RootFs::parse(format!("oci:{}:img:1", layout.dir.display())).unwrap();
    assert_eq!(root, RootFs::OciLayout { dir: layout.dir, tag: Some("img:1".into()) });
    Some((arena, root))
}

fn images(cache: &Path) -> Vec<String> {
    fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn programs_of_an_image_run_and_see_its_layers_and_nothing_of_the_host() {
    let Some((arena, root)) = arena("run") else { return };
    let spec = SandboxSpec { root, ..SandboxSpec::default() };
    // Not through a set: the create itself finds the image.
    let Some(sandbox) = sandbox_from(backend(&arena), spec, ScratchDirs::Tmpfs) else { return };
    let output = sh(&sandbox, "cat /etc/layer /top && ls /etc && echo x > /scratch/f && echo y > /etc/layer");
    assert_eq!(String::from_utf8_lossy(&output.stdout.bytes), "upperupperlayer\n");
    assert_ne!(output.outcome, Outcome::Exited(0), "the root is writable");
    let output = sh(&sandbox, "ls /usr/share /etc/passwd");
    assert_ne!(output.outcome, Outcome::Exited(0), "the host's files are there");
}

#[test]
fn eight_sets_of_one_image_share_what_was_unpacked_once() {
    let Some((arena, root)) = arena("sets") else { return };
    let spec = SandboxSpec { root, ..SandboxSpec::default() };
    if sandbox_from(backend(&arena), SandboxSpec::default(), ScratchDirs::Tmpfs).is_none() {
        return;
    }
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let backend = Arc::new(backend(&arena));
                barrier.wait();
                let set = SandboxSet::new(backend, spec.clone(), Config::default()).unwrap();
                let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
                let output = sandbox.exec(&shell("cat /etc/layer")).unwrap();
                assert_eq!(output.stdout.bytes, b"upper");
                sandbox.destroy("done").unwrap();
                set.close(crate::support::HANG).unwrap();
            });
        }
    });
    let images = images(&arena.cache());
    assert_eq!(images.len(), 1, "{images:?}");
    assert!(images[0].starts_with("sha256-"), "{images:?}");
}

#[test]
fn a_set_keeps_its_image_when_the_tag_moves() {
    let Some((arena, root)) = arena("moves") else { return };
    let spec = SandboxSpec { root, ..SandboxSpec::default() };
    if sandbox_from(backend(&arena), SandboxSpec::default(), ScratchDirs::Tmpfs).is_none() {
        return;
    }
    let set = SandboxSet::new(Arc::new(backend(&arena)), spec.clone(), Config::default()).unwrap();
    let Some(base) = base_layer() else { return };
    let mut layout = arena.layout();
    layout.image(Some("img:1"), &[base]);
    let moved = SandboxSet::new(Arc::new(backend(&arena)), spec, Config::default()).unwrap();
    for (set, text) in [(&set, &b"upper"[..]), (&moved, b"lower")] {
        let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
        assert_eq!(sandbox.exec(&Command::new(["cat", "/etc/layer"])).unwrap().stdout.bytes, text);
        sandbox.destroy("done").unwrap();
        set.close(crate::support::HANG).unwrap();
    }
}

#[test]
fn a_set_of_a_bad_image_is_not_made() {
    let arena = Arena::new("bad");
    let mut layout = arena.layout();
    layout.image(Some("evil"), &[Layer::default().file("../escaped", b"x", 0o644)]);
    let refused = |text: String| {
        let spec = SandboxSpec { root: RootFs::parse(text).unwrap(), ..SandboxSpec::default() };
        let error = SandboxSet::new(Arc::new(backend(&arena)), spec, Config::default()).unwrap_err();
        assert_eq!((error.code(), error.field()), (ErrorCode::InvalidArgument, Some("root")), "{error}");
        error.message().to_owned()
    };
    let dir = layout.dir.display();
    assert!(refused(format!("oci:{dir}:evil")).contains("layer 1"));
    assert!(refused(format!("oci:{dir}:good")).contains("available: evil"));
    assert!(refused(format!("oci:{dir}:")).contains("empty"));
    assert!(refused(format!("oci:{}:x", arena.0.display())).contains("oci-layout"));
    assert!(refused("oci:relative:x".into()).contains("absolute"));
    assert!(refused("oci:/does/not/exist:x".into()).contains("not a directory"));
    assert!(refused("oci:".into()).contains("empty"));
    assert!(!arena.0.join("escaped").exists() && !arena.cache().join("escaped").exists());
    assert!(images(&arena.cache()).is_empty());
}

#[test]
fn an_image_cannot_bend_what_is_mounted_over_it() {
    let Some(base) = base_layer() else { return skip("no ldd, or no programs that it knows") };
    let arena = Arena::new("bend");
    let host = arena.0.join("host");
    fs::create_dir(&host).unwrap();
    fs::set_permissions(&host, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let own = ["proc", "dev", "sys", "tmp", "scratch", "code"];
    let mut layout = arena.layout();
    let targets = ["/", "..", "/proc/sys/kernel", "loop", "../../..", host.to_str().unwrap()];
    for (number, target) in targets.into_iter().enumerate() {
        let links = own.iter().fold(base.clone(), |layer, name| layer.link(name, target));
        layout.image(Some(&format!("link{number}")), &[links.link("loop", "loop").link("mnt", target)]);
    }
    let files = own.iter().fold(base.clone(), |layer, name| layer.file(name, b"x", 0o644));
    layout.image(Some("link6"), &[files.file("mnt", b"x", 0o644)]);
    for number in 0..=6 {
        let root = RootFs::OciLayout { dir: layout.dir.clone(), tag: Some(format!("link{number}")) };
        let mut spec = SandboxSpec { root, ..SandboxSpec::default() };
        let Some(sandbox) = sandbox_from(backend(&arena), spec.clone(), ScratchDirs::Tmpfs) else { return };
        let script =
            "cat /proc/self/status >/dev/null && for d in tmp scratch; do echo x > /$d/f || exit 9; done";
        let output = sh(&sandbox, script);
        assert_eq!(output.outcome, Outcome::Exited(0), "{number}: {:?}", output.stderr);
        drop(sandbox);
        // A mount of ours is never put through a link of the image.
        spec.binds.push(sandboxset::Bind {
            source: "/usr".into(),
            target: "/mnt/usr".into(),
            writable: false,
        });
        let id = sandboxset::SandboxId::next();
        let deadline = std::time::Instant::now() + crate::support::HANG;
        let request =
            sandboxset::CreateRequest { id, spec: Arc::new(spec), scratch: ScratchDirs::Tmpfs, deadline };
        let Err(error) = sandboxset::Backend::create(&backend(&arena), &request) else {
            panic!("{number}: a bind went through the image's /mnt");
        };
        assert!(error.message().contains("/mnt/usr"), "{error}");
        assert_eq!(fs::read_dir(&host).unwrap().count(), 0, "{number}");
    }
}
