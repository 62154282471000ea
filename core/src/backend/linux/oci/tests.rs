//! Images good, broken and evil.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tar::EntryType;

use self::image::{Arena, Layer, Layout, arch, listing};
use super::*;

#[path = "../../../../tests/linux/image.rs"]
mod image;

fn cache(arena: &Arena) -> Cache {
    Cache::new(Some(&arena.cache())).unwrap()
}

/// Unpacks an image of these layers; answers its root.
fn unpack(arena: &Arena, layers: &[Layer]) -> Result<PathBuf> {
    let mut layout = arena.layout();
    layout.image(Some("t"), layers);
    Ok(cache(arena).resolve(&layout.dir, Some("t"), None)?.path)
}

/// What the image looks like once unpacked.
fn unpacked(layers: &[Layer]) -> Vec<String> {
    let arena = Arena::new("unpacked");
    listing(&unpack(&arena, layers).unwrap())
}

/// The image is refused with a message that has all these parts, and nothing of it is anywhere.
fn assert_refused(layers: &[Layer], parts: &[&str]) {
    let arena = Arena::new("refused");
    let canary = arena.0.join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "alive").unwrap();
    let mut layout = arena.layout();
    layout.image(Some("t"), layers);
    let before = listing(&arena.0);
    assert_refusal(cache(&arena).resolve(&layout.dir, Some("t"), None), parts);
    assert_eq!(listing(&arena.cache()), [""; 0], "{parts:?}: something is left in the cache");
    fs::remove_dir(arena.cache()).unwrap();
    assert_eq!(listing(&arena.0), before, "{parts:?}: something outside the root was changed");
    assert!(!PathBuf::from("/oci-evil").exists());
}

fn assert_refusal(result: Result<Unpacked>, parts: &[&str]) {
    let error = result.expect_err(&format!("not refused: {parts:?}"));
    assert_eq!((error.code(), error.field()), (ErrorCode::InvalidArgument, Some("root")), "{error}");
    for part in parts {
        assert!(error.message().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn layers_are_unpacked_in_order_and_whiteouts_hide_only_what_is_below() {
    let lower = Layer::default()
        .dir("./", 0o755)
        .dir("etc/", 0o755)
        .file("etc/a", b"1", 0o644)
        .file("etc/b", b"1", 0o644)
        .dir("var/", 0o755)
        .file("var/old/deep", b"1", 0o644)
        .file("var/kept", b"1", 0o644)
        .file("tree/x/y", b"1", 0o644)
        .file("swap", b"1", 0o644);
    let upper = Layer::default()
        .file("etc/a", b"2", 0o644)
        .file("etc/.wh.b", b"", 0o644)
        .file("var/new", b"2", 0o644)
        .file("var/kept", b"2", 0o644)
        .file("var/.wh..wh..opq", b"", 0o644)
        .file("tree/.wh.x", b"", 0o644)
        .file("tree/.wh.never", b"", 0o644)
        .file("swap/inside", b"2", 0o644);
    // A file that a directory takes the place of needs an entry of its own for that.
    assert_refused(&[lower.clone(), upper.clone()], &["layer 2", "swap/inside", "not a directory"]);
    let upper =
        Layer::default().dir("swap", 0o755).file("etc/.wh.a", b"", 0o644).0.into_iter().chain(upper.0);
    assert_eq!(
        unpacked(&[lower, Layer(upper.collect())]),
        ["etc/", "etc/a=2", "swap/", "swap/inside=2", "tree/", "var/", "var/kept=2", "var/new=2"]
    );
}

#[test]
fn an_opaque_directory_keeps_what_its_own_layer_has_however_deep() {
    let lower = Layer::default().file("a/b/old", b"1", 0o644).file("a/c/old", b"1", 0o644);
    let upper = Layer::default().file("a/b/new", b"2", 0o644).file(".wh..wh..opq", b"", 0o644);
    assert_eq!(unpacked(&[lower.clone(), upper]), ["a/", "a/b/", "a/b/new=2"]);
    let upper = Layer::default().file("a/b/new", b"2", 0o644).file(".wh.a", b"", 0o644);
    assert_eq!(unpacked(&[lower, upper]), ["a/", "a/b/", "a/b/new=2"]);
}

#[test]
fn modes_owners_and_times_are_flattened_and_kept_as_promised() {
    let arena = Arena::new("modes");
    let layer = Layer::default()
        .dir("closed", 0o000)
        .file("closed/secret", b"x", 0o400)
        .file("closed/program", b"x", 0o4710)
        .file("wide", b"x", 0o666)
        .dir("sticky", 0o7777);
    let root = unpack(&arena, &[layer]).unwrap();
    let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(""), 0o755);
    assert_eq!([mode("closed"), mode("sticky")], [0o755, 0o755]);
    assert_eq!([mode("closed/secret"), mode("closed/program"), mode("wide")], [0o644, 0o755, 0o644]);
    let secret = fs::metadata(root.join("closed/secret")).unwrap();
    assert_eq!(secret.mtime(), 1_000_000_000);
    assert_eq!(secret.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(fs::metadata(arena.cache()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn duplicates_links_and_devices_do_what_they_may() {
    let layer = Layer::default()
        .file("a", b"old", 0o644)
        .hard_link("same", "./a")
        // A new file of the same name is not the old one: its other name keeps what it had.
        .file("a", b"new", 0o644)
        .link("up", "../../../../etc/passwd")
        .link("root", "/")
        // In the place of a link, not through it.
        .file("up", b"mine", 0o644)
        .dir("d", 0o755)
        .file("d/x", b"1", 0o644)
        .link("d", "a")
        .entry("null", EntryType::Char, "", b"", 0o666)
        .entry("disk", EntryType::Block, "", b"", 0o666)
        .entry("pipe", EntryType::Fifo, "", b"", 0o666)
        .entry("pax", EntryType::XGlobalHeader, "", b"11 a=bcdef\n", 0o644);
    assert_eq!(unpacked(&[layer]), ["a=new", "d -> a", "root -> /", "same=old", "up=mine"]);
}

#[test]
fn evil_entries_are_refused_and_write_nothing_anywhere() {
    let evil = |layer: Layer, parts: &[&str]| {
        assert_refused(&[Layer::default().file("ok", b"x", 0o644), layer], parts)
    };
    let file = |name: &str| Layer::default().file(name, b"evil", 0o644);
    evil(file("../canary/file"), &["layer 2 (sha256:", "entry \"../canary/file\"", ".."]);
    evil(file("ok/../../canary/file"), &["entry \"ok/../../canary/file\"", ".."]);
    evil(file("/oci-evil"), &["entry \"/oci-evil\"", "absolute"]);
    evil(file("a/.wh..."), &["whiteout"]);
    evil(file("../.wh.canary"), &[".."]);
    evil(file(".wh.a/b"), &["whiteout"]);
    evil(file(&"n".repeat(256)), &["longer than 255"]);
    evil(file(&"d/".repeat(129)), &["deeper than 128"]);
    evil(file(&"dddddddd/".repeat(500)), &["longer than 4095"]);
    for (name, target) in [("l", "../canary"), ("l", "../../canary"), ("l", "/"), ("l", "."), ("l", "l")] {
        let link = || Layer::default().link(name, target);
        evil(link().file("l/file", b"evil", 0o644), &["entry \"l/file\"", "symbolic link"]);
        evil(link().dir("l/dir", 0o755), &["symbolic link"]);
        evil(link().file("l/.wh.file", b"", 0o644), &["symbolic link"]);
        evil(link().file("l/.wh..wh..opq", b"", 0o644), &["symbolic link"]);
        evil(link().hard_link("h", "l/file"), &["hard link", "symbolic link"]);
        evil(link().hard_link("h", "l"), &["hard link", "not a regular file"]);
        evil(link().hard_link("l/h", "ok"), &["symbolic link"]);
        // The same across layers.
        assert_refused(
            &[link(), Layer::default().file("l/file", b"evil", 0o644)],
            &["layer 2", "symbolic link"],
        );
    }
    let hard_link = |target: &str| Layer::default().dir("d", 0o755).hard_link("h", target);
    evil(hard_link("../canary/file"), &["hard link", ".."]);
    evil(hard_link("/etc/passwd"), &["hard link", "absolute"]);
    evil(hard_link("missing"), &["hard link", "before it"]);
    evil(hard_link("d"), &["hard link", "not a regular file"]);
    evil(hard_link("h"), &["hard link", "itself"]);
    evil(hard_link(""), &["hard link"]);
    evil(Layer::default().link("empty", ""), &["target"]);
    evil(Layer::default().file("./", b"x", 0o644), &["root of the image"]);
    evil(Layer::default().entry("odd", EntryType::new(b'Z'), "", b"", 0o644), &["type"]);
    evil(
        Layer::default()
            .entry("p", EntryType::XHeader, "", b"29 GNU.sparse.name=/oci-evil\n\n", 0o644)
            .file("s", b"x", 0o644),
        &["sparse"],
    );
}

#[test]
fn pax_paths_and_sizes_are_checked_like_others() {
    let pax = |record: &str| Layer::default().entry("pax", EntryType::XHeader, "", record.as_bytes(), 0o644);
    assert_refused(
        &[pax("26 path=../../canary/file\n").file("innocent", b"x", 0o644)],
        &["../../canary/file", ".."],
    );
    assert_refused(&[pax("18 path=/oci-evil\n").file("innocent", b"x", 0o644)], &["absolute"]);
    // A size in PAX that hides entries in the data of a file: they are data and nothing else.
    let hidden = Layer::default().file("hidden", b"x", 0o644).0;
    let record = format!("13 size={:04}\n", hidden.len());
    let names = unpacked(&[pax(&record).sized("cover", EntryType::Regular, "", &hidden, 0o644, 0)]);
    assert_eq!(names.len(), 1);
    assert!(names[0].starts_with("cover=hidden"));
    // More than there is.
    let huge = Layer::default().sized("huge", EntryType::Regular, "", b"x", 0o644, 1 << 20);
    assert_refused(&[huge], &["huge", "ends before"]);
    let endless = Layer::default().sized("endless", EntryType::Regular, "", b"x", 0o644, 1 << 40);
    assert_refused(&[endless], &["endless", "more than"]);
    let long = "x".repeat(2 << 20);
    let headers = Layer::default().entry("././@LongLink", EntryType::GNULongName, "", long.as_bytes(), 0o644);
    assert_refused(&[headers.file("f", b"", 0o644)], &["of headers"]);
}

#[test]
fn what_is_too_large_is_refused() {
    let refused = |caps: Caps, layers: &[(Vec<u8>, &str)], part: &str| {
        let arena = Arena::new("caps");
        let mut layout = arena.layout();
        layout.image_of(Some("t"), layers, &arch());
        let cache = Cache { caps, ..cache(&arena) };
        assert_refusal(cache.resolve(&layout.dir, Some("t"), None), &[part]);
        assert_eq!(listing(&arena.cache()), [""; 0]);
        // The negative control: it is the cap that refuses.
        let cache = Cache { caps: Caps { ratio: u64::MAX, ..Caps::default() }, ..cache };
        assert!(cache.resolve(&layout.dir, Some("t"), None).unwrap().fresh);
    };
    let small = || Layer::default().file("a", b"12345", 0o644).file("b", b"12345", 0o644);
    refused(
        Caps { entries: 3, ..Caps::default() },
        &[(small().tar(), "tar"), (small().tar(), "tar")],
        "3 entries",
    );
    refused(
        Caps { bytes: 19, ..Caps::default() },
        &[(small().tar(), "tar"), (small().tar_gz(), "tar+gzip")],
        "19 bytes",
    );
    // 70 MiB of zeros in some 70 KiB... at the best ratio of deflate, far above the cap.
    let zeros = vec![0u8; 35 << 20];
    let bomb = Layer::default().file("a", &zeros, 0o644).file("b", &zeros, 0o644).tar_gz();
    assert!(bomb.len() < 1 << 20);
    refused(Caps { ratio: 3, ..Caps::default() }, &[(bomb, "tar+gzip")], "unpacks to more than");
    let crowd = (0..300).fold(Layer::default(), |layer, index| layer.file(&format!("f{index}"), b"", 0o644));
    assert_refused(&[crowd], &["300 entries"]);
}

#[test]
fn blobs_must_be_what_their_digests_say() {
    let arena = Arena::new("digests");
    let mut layout = arena.layout();
    let layers = [(Layer::default().file("a", b"12345", 0o644).tar_gz(), "tar+gzip")];
    let blob = layout.image_of(Some("t"), &layers, &arch()).remove(0);
    let good = fs::read(&blob).unwrap();
    let resolve = || cache(&arena).resolve(&layout.dir, Some("t"), None);
    for place in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&blob, bad).unwrap();
        assert_refusal(resolve(), &["layer 1", "has the digest"]);
    }
    fs::write(&blob, &good[..good.len() - 1]).unwrap();
    assert_refusal(resolve(), &["layer 1", "bytes, not"]);
    fs::remove_file(&blob).unwrap();
    assert_refusal(resolve(), &["layer 1", "No such file"]);
    std::os::unix::fs::symlink("/etc/passwd", &blob).unwrap();
    assert_refusal(resolve(), &["layer 1"]);
    fs::remove_file(&blob).unwrap();
    rustix::fs::mknodat(CWD, &blob, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert_refusal(resolve(), &["not a regular file"]);
    fs::remove_file(&blob).unwrap();
    assert_eq!(listing(&arena.cache()), [""; 0]);
    fs::write(&blob, &good).unwrap();
    assert!(resolve().unwrap().fresh);
    // The manifest is verified also when its image is there already.
    for entry in fs::read_dir(layout.dir.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap();
        if text.starts_with(b"{\"schemaVersion\"") {
            fs::write(&path, String::from_utf8(text).unwrap().replace("Version\":2", "Version\":3")).unwrap();
        }
    }
    assert_refusal(resolve(), &["the manifest", "has the digest"]);
}

#[test]
fn tags_and_platforms_choose_and_errors_list_what_there_is() {
    let arena = Arena::new("tags");
    let mut layout = arena.layout();
    let file = |data: &str| vec![(Layer::default().file("f", data.as_bytes(), 0o644).tar(), "tar")];
    let resolve = |layout: &Layout, tag| cache(&arena).resolve(&layout.dir, tag, None);
    let content = |layout: &Layout, tag| listing(&resolve(layout, tag).unwrap().path);
    layout.image_of(None, &file("untagged"), &arch());
    assert_eq!(content(&layout, None), ["f=untagged"]);
    assert_refusal(resolve(&layout, Some("x")), &["no tag \"x\"", "available: none"]);
    layout.image_of(Some("one"), &file("foreign"), "pdp11");
    layout.image_of(Some("one"), &file("one"), &arch());
    layout.image_of(Some("host/two:2"), &file("two"), &arch());
    layout.image_of(Some("foreign"), &file("foreign"), "pdp11");
    assert_eq!(content(&layout, Some("one")), ["f=one"]);
    assert_eq!(content(&layout, Some("host/two:2")), ["f=two"]);
    assert_refusal(resolve(&layout, None), &["needs a tag", "foreign, host/two:2, one"]);
    assert_refusal(resolve(&layout, Some("three")), &["no tag \"three\"", "foreign, host/two:2, one"]);
    assert_refusal(resolve(&layout, Some("foreign")), &["no image for linux/", "linux/pdp11"]);
    layout.image_of(Some("zstd"), &[(b"x".to_vec(), "tar+zstd")], &arch());
    assert_refusal(resolve(&layout, Some("zstd")), &["tar+zstd", "not supported"]);
    fs::write(layout.dir.join("oci-layout"), "{}").unwrap();
    assert_refusal(resolve(&layout, Some("one")), &["oci-layout"]);
    fs::remove_file(layout.dir.join("oci-layout")).unwrap();
    assert_refusal(resolve(&layout, Some("one")), &["oci-layout", "No such file"]);
}

#[test]
fn many_threads_unpack_one_image_once() {
    let arena = Arena::new("threads");
    let mut layout = arena.layout();
    layout.image(Some("t"), &[Layer::default().file("f", &vec![b'x'; 1 << 20], 0o644)]);
    let barrier = std::sync::Barrier::new(8);
    let fresh: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    cache(&arena).resolve(&layout.dir, Some("t"), None).unwrap().fresh
                })
            })
            .collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(fresh, 1);
    assert_eq!(fs::read_dir(arena.cache()).unwrap().count(), 1);
}

#[test]
fn what_a_dead_process_left_goes_and_what_a_live_one_has_stays() {
    let arena = Arena::new("leftovers");
    let mut layout = arena.layout();
    layout.image(Some("t"), &[Layer::default().file("f", b"x", 0o644)]);
    fs::create_dir(arena.cache()).unwrap();
    let live = format!("{}-999999", Owner::current().unwrap());
    let dead = format!("sandboxset-{}-1-1-0", "0".repeat(32));
    let name = cache(&arena).resolve(&layout.dir, None, None).unwrap().path;
    for dir in [&live, &dead, "other"] {
        fs::create_dir_all(arena.cache().join(dir).join("deep/er")).unwrap();
    }
    fs::remove_dir_all(&name).unwrap();
    assert!(cache(&arena).resolve(&layout.dir, None, None).unwrap().fresh);
    assert!(arena.cache().join(live).exists() && arena.cache().join("other").exists() && name.exists());
    assert!(!arena.cache().join(dead).exists());
}

#[test]
fn a_cache_that_others_can_write_to_is_refused_and_a_deadline_is_kept() {
    let arena = Arena::new("cache");
    let mut layout = arena.layout();
    layout.image(Some("t"), &[Layer::default().file("f", b"x", 0o644)]);
    let error = cache(&arena).resolve(&layout.dir, None, Some(Instant::now())).unwrap_err();
    assert!(error.message().contains("time was over"), "{error}");
    assert_eq!(listing(&arena.cache()), [""; 0]);
    fs::set_permissions(arena.cache(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = cache(&arena).resolve(&layout.dir, None, None).unwrap_err();
    assert_eq!(error.field(), Some("image_cache"), "{error}");
    fs::set_permissions(arena.cache(), fs::Permissions::from_mode(0o700)).unwrap();
    let later = Instant::now() + Duration::from_secs(60);
    assert!(cache(&arena).resolve(&layout.dir, None, Some(later)).unwrap().fresh);
}
