//! Layers that try to get out of their folder, and layers that are merely odd.

mod layer;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use images::unpack::{UnpackOptions, Unpacked, decompress, unpack};
use layer::{Tar, difference, tree};
use namespaces::Result;
use testkit::Needs;

fn main() {
    testkit::main(vec![
        testkit::test("a_hostile_layer_says_what_it_tried_and_touches_nothing", &[], hostile),
        testkit::test("a_path_that_is_too_long_to_write_is_refused", &[], beyond_paths),
        testkit::test("a_mutated_layer_never_gets_out", &[], mutated),
        testkit::test("a_bomb_stops_at_its_limit", &[], bombs),
        testkit::test("an_absolute_name_is_taken_from_the_root_of_the_layer", &[], absolute),
        testkit::test("a_symbolic_link_is_followed_inside_of_the_layer", &[], followed),
        testkit::test("the_last_of_two_entries_with_a_name_wins", &[], duplicates),
        testkit::test("a_device_is_replaced_and_not_written_to", &[Needs::Root], written_device),
        testkit::test(
            "overlays_own_attributes_are_not_taken_from_a_layer",
            &[],
            overlay_attributes,
        ),
        testkit::test("a_stream_is_read_to_its_end", &[], drained),
    ])
}

/// A folder with secrets, and beside it the folder of a layer.
struct Stage {
    temp: tempfile::TempDir,
}

impl Stage {
    fn set() -> Self {
        let temp = testkit::temp_dir();
        let outside = temp.path().join("outside");
        fs::create_dir_all(outside.join("etc")).unwrap();
        fs::write(outside.join("etc/passwd"), "root:x:0:0").unwrap();
        fs::write(outside.join("secret"), "the secret").unwrap();
        symlink("secret", outside.join("link")).unwrap();
        fs::create_dir(temp.path().join("layer")).unwrap();
        Self { temp }
    }

    fn unpack(&self, archive: &[u8]) -> Result<Unpacked> {
        unpack(archive, &self.layer(), &UnpackOptions::default())
    }

    fn layer(&self) -> std::path::PathBuf {
        self.temp.path().join("layer")
    }

    /// What is not the layer's, to the last byte. The stage itself has the layer in it.
    fn canary(&self) -> std::collections::BTreeMap<std::path::PathBuf, String> {
        let mut all = tree(self.temp.path());
        all.retain(|path, _| !path.starts_with("layer"));
        all
    }
}

/// Each archive, and the sentence that it is refused with.
fn hostile_layers(outside: &Path) -> Vec<(&'static str, Tar, &'static str)> {
    let tar = Tar::default;
    let out = outside.to_str().unwrap();
    let deep = "d/".repeat(1500);
    vec![
        ("climb", tar().file("../outside/secret", "x"), "climbs with \"..\""),
        ("climb late", tar().file("a/../../outside/secret", "x"), "climbs with \"..\""),
        ("climb to the root", tar().folder("/.."), "climbs with \"..\""),
        ("climb by a link's name", tar().symlink("../link", "x"), "climbs with \"..\""),
        (
            "through a symbolic link",
            tar().symlink("out", out).file("out/secret", "x"),
            "\"out\" is a symbolic link to no folder of this layer",
        ),
        (
            "through a relative one",
            tar().symlink("out", "../outside").file("out/etc/passwd", "x"),
            "\"out\" is a symbolic link to no folder of this layer",
        ),
        (
            "through two",
            tar()
                .folder("a")
                .symlink("a/b", "../../..")
                .symlink("c", "a/b/outside")
                .file("c/x", ""),
            "\"c\" is a symbolic link to no folder of this layer",
        ),
        (
            "a whiteout through one",
            tar().symlink("out", out).file("out/.wh.secret", ""),
            "\"out\" is a symbolic link to no folder of this layer",
        ),
        (
            "an opaque folder through one",
            tar().symlink("out", out).file("out/.wh..wh..opq", ""),
            "\"out\" is a symbolic link to no folder of this layer",
        ),
        (
            "a loop",
            tar().symlink("a", "b").symlink("b", "a").file("a/x", ""),
            "goes through a loop of symbolic links",
        ),
        (
            "a hard link out",
            tar().hardlink("x", "../outside/secret"),
            "is a hard link to \"../outside/secret\", which leads out of the layer",
        ),
        (
            "an absolute one",
            tar().hardlink("x", "/etc/passwd"),
            "is a hard link to \"/etc/passwd\", which the layer does not have",
        ),
        (
            "a hard link through a symbolic one",
            tar().symlink("out", out).hardlink("x", "out/secret"),
            "which the layer does not have",
        ),
        ("a hard link to a folder", tar().folder("d").hardlink("x", "d"), "which is a folder"),
        ("a hard link to the root", tar().hardlink("x", "/"), "which the layer does not have"),
        ("the root as a link", tar().symlink(".", out), "would replace the root of the layer"),
        (
            "the root as a fifo",
            tar().entry(b'6', "/", "", b""),
            "would replace the root of the layer",
        ),
        ("whiteout of the root", tar().file(".wh.", ""), "is a whiteout of its own folder"),
        ("whiteout of .", tar().file("a/.wh..", ""), "is a whiteout of its own folder"),
        ("whiteout of ..", tar().file(".wh...", ""), "is a whiteout of its own folder"),
        ("in a whiteout", tar().file(".wh.a/b", ""), "a folder with a whiteout's name"),
        ("in a file", tar().file("a", "").file("a/b", ""), "\"a\" is no folder"),
        ("in a fifo", tar().entry(b'6', "a", "", b"").file("a/b", ""), "\"a\" is no folder"),
        ("NUL", tar().pax(&[("path", b"a\0b")]).file("x", ""), "has a NUL in its name"),
        ("NUL in a link", tar().pax(&[("linkpath", b"a\0b")]).symlink("x", "y"), "valid target"),
        ("no target", tar().symlink("x", ""), "is a symbolic link without a valid target"),
        (
            "a long name",
            tar().pax(&[("path", &[b'a'; 300])]).file("x", ""),
            "a name that is too long for Linux",
        ),
        (
            "a long path",
            tar().pax(&[("path", &b"a/".repeat(5000))]).file("x", ""),
            "too long for Linux",
        ),
        (
            "a deep path",
            tar().pax(&[("path", deep.as_bytes())]).folder("x"),
            "nests folders too deep",
        ),
        ("a long header", tar().sized(b'x', "x", "", 1 << 40, b""), "1099511627776 bytes, where"),
        ("a long long name", tar().sized(b'L', "x", "", 1 << 62, b""), "bytes, where"),
        ("PAX of no records", tar().entry(b'x', "x", "", b"99 a=b\n"), "not made of records"),
        (
            "a size below zero",
            tar().raw(b"", |h| h.as_old_mut().size = [0xff; 12]),
            "claims to be 18446744073709551615 bytes long",
        ),
        (
            "a size beyond 2^64",
            tar().raw(b"", |h| {
                h.as_old_mut().size = [0xff; 12];
                h.as_old_mut().size[0] = 0x80;
            }),
            "a header's size is not a number",
        ),
        (
            "a PAX size below zero",
            tar().pax(&[("size", b"-1")]).file("x", ""),
            "\"-1\" stands where",
        ),
        ("a cut archive", tar().sized(b'0', "x", "", 5000, b"short"), "ends in the middle"),
        ("a huge file", tar().sized(b'0', "x", "", 1 << 50, b""), "takes it beyond the"),
        (
            "an owner -1",
            tar().raw(b"", |h| {
                put_name(h, "x");
                h.set_uid(u32::MAX.into());
            }),
            "belongs to 4294967295, which is no user or group",
        ),
        ("an unknown type", tar().entry(b'Q', "x", "", b""), "is of an unknown type, 'Q'"),
        ("a device beyond numbers", tar().device("x", 1 << 20, 0), "which no kernel knows"),
        (
            "overlapping pieces",
            tar().pax(&sparse(b"0,4,2,4", b"8")).file("x", "12345678"),
            "its pieces overlap",
        ),
        (
            "a piece beyond the file",
            tar().pax(&sparse(b"0,4,8,4", b"8")).file("x", "12345678"),
            "a piece ends beyond the file",
        ),
        (
            "pieces without data",
            tar().pax(&sparse(b"0,4", b"8")).file("x", "12345678"),
            "its pieces are not as long as its data",
        ),
        (
            "pieces beyond 2^64",
            tar().pax(&sparse(b"18446744073709551615,4", b"8")).file("x", "1234"),
            "a piece ends beyond 2^64",
        ),
        ("no archive", Tar(b"what".repeat(500)), "it is not a tar archive"),
    ]
}

/// Each name is short enough. What they lead to has a path that nobody can write any more.
fn beyond_paths() {
    let folder = testkit::temp_dir();
    let long = |letter: &str| vec![letter.repeat(200); 18].join("/");
    let (first, second) = (long("n"), format!("s/{}/file", long("m")));
    let archive = Tar::default()
        .pax(&[("path", format!("{first}/").as_bytes())])
        .folder("x")
        .pax(&[("linkpath", first.as_bytes())])
        .symlink("s", "x")
        .pax(&[("path", second.as_bytes())])
        .file("x", "deep")
        .end();
    let error = unpack(&archive[..], folder.path(), &UnpackOptions::default());
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("nests folders too deep"), "{error}");
}

fn sparse<'a>(map: &'a [u8], size: &'a [u8]) -> [(&'a str, &'a [u8]); 2] {
    [("GNU.sparse.map", map), ("GNU.sparse.size", size)]
}

fn put_name(header: &mut tar::Header, name: &str) {
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
}

fn hostile() {
    let outside = Stage::set();
    for (what, archive, sentence) in hostile_layers(&outside.temp.path().join("outside")) {
        let stage = Stage::set();
        let (near, far) = (stage.canary(), outside.canary());
        let archive = archive.file("after", "the end").end();
        let error = stage.unpack(&archive).expect_err(what).to_string();
        assert!(error.contains(sentence), "{what}: {error}");
        assert!(!error.contains('\n') && error.len() < 300, "{what}: {error}");
        assert!(!stage.layer().join("after").exists(), "{what}: went on after {error}");
        assert_eq!(difference(&stage.canary(), &near), "", "{what}");
        assert_eq!(difference(&outside.canary(), &far), "", "{what}");
    }
}

/// A layer with something of everything, as the seed of mutations.
fn motley() -> Tar {
    Tar::default()
        .folder("./")
        .folder("etc")
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .symlink("bin", "usr/bin")
        .folder("usr/bin")
        .file("bin/sh", "#!")
        .hardlink("usr/bin/ash", "usr/bin/sh")
        .symlink("up", "../../..")
        .file("up/etc/x", "x")
        .pax(&[("path", b"etc/a long name"), ("SCHILY.xattr.user.a", b"b"), ("mtime", b"1.5")])
        .file("short", "data")
        .pax(&sparse(b"0,4,100,4", b"200"))
        .file("holes", "12345678")
        .file("etc/.wh.hosts", "")
        .file("usr/.wh..wh..opq", "")
        .entry(b'6', "fifo", "", b"")
        .entry(b'L', "././@LongLink", "", b"a/b/c/d\0")
        .file("a/b/c/", "")
}

fn mutated() {
    // xorshift: the same mutations on every machine.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let seed = motley().0;
    let mut stage = Stage::set();
    let mut canary = stage.canary();
    let (mut accepted, rounds) = (0, 1000);
    for round in 0..rounds {
        let archive = mutation(&seed, &mut random);
        accepted += usize::from(stage.unpack(&archive).is_ok());
        if round % 10 == 8 {
            assert_eq!(difference(&stage.canary(), &canary), "", "round {round}");
        }
        // Where the last one wrote, the next one writes again, most of the time.
        if round % 10 == 9 {
            stage = Stage::set();
            canary = stage.canary();
        }
    }
    assert!((rounds / 20..rounds).contains(&accepted), "{accepted} of {rounds} were accepted");
}

/// A few bytes changed, a block swapped, a field filled; then sums that are right, so
/// that it is not the checksum which refuses everything.
fn mutation(seed: &[u8], random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let blocks = bytes.len() / 512;
    for _ in 0..1 + random(4) {
        let block = random(blocks) * 512;
        match random(6) {
            0 => bytes[block + random(512)] = random(256) as u8,
            1 => bytes[block + random(160)] ^= 1 << random(8),
            2 => bytes[block + 156] = b"0123456LKxgS"[random(12)],
            3 => {
                let from = random(blocks) * 512;
                bytes.copy_within(from..from + 512, block);
            }
            4 => {
                let names: [&[u8]; 6] = [b"..", b"up", b"bin/../..", b"/", b".wh...", b"etc"];
                let name = names[random(6)];
                let field = block + [0, 157][random(2)];
                bytes[field..field + name.len()].copy_from_slice(name);
            }
            _ => bytes[block + 124..block + 136].copy_from_slice(
                [&b"77777777777\0"[..], b"00000000001\0", b"\x80\0\0\0\0\0\0\x01\0\0\0\0"]
                    [random(3)],
            ),
        }
    }
    for block in bytes.chunks_exact_mut(512) {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        if header.as_ustar().is_some() || header.as_gnu().is_some() {
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
    }
    bytes
}

fn bombs() {
    let options = UnpackOptions { max_bytes: 1000, max_entries: 3, ..UnpackOptions::default() };
    let archive = Tar::default().file("a", &"x".repeat(600)).file("b", &"x".repeat(600)).end();
    let stage = Stage::set();
    let error = unpack(&archive[..], &stage.layer(), &options).unwrap_err().to_string();
    assert!(error.contains("takes it beyond the 1000 bytes it may have"), "{error}");
    assert!(!stage.layer().join("b").exists());

    let archive = ["a", "b", "c", "d"].iter().fold(Tar::default(), |tar, name| tar.folder(name));
    let error = unpack(&archive.end()[..], &Stage::set().layer(), &options).unwrap_err();
    assert!(error.to_string().contains("one more than the 3 entries"), "{error}");

    let mut archive = Tar::default().file("a", "x").end();
    archive.resize(10_000, 0);
    let error = unpack(&archive[..], &Stage::set().layer(), &options).unwrap_err();
    assert!(error.to_string().contains("follow the end of its archive"), "{error}");

    // The bytes are all there, but behind an inflater: it stops by itself.
    let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 400 << 20), 1).unwrap();
    let archive = Tar::default().sized(b'0', "zeroes", "", 400 << 20, b"").0;
    let bomb = [zstd::encode_all(&archive[..], 1).unwrap(), bomb].concat();
    let stage = Stage::set();
    let reader = decompress(&bomb[..]).unwrap();
    let error = unpack(reader, &stage.layer(), &UnpackOptions::default()).unwrap_err().to_string();
    assert!(error.contains("as only a bomb does"), "{error}");
}

fn absolute() {
    let stage = Stage::set();
    let archive = Tar::default().file("/etc/hostname", "boat").hardlink("/name", "/etc/hostname");
    stage.unpack(&archive.end()).unwrap();
    assert_eq!(fs::read(stage.layer().join("name")).unwrap(), b"boat");
}

fn followed() {
    let stage = Stage::set();
    let archive = Tar::default()
        .folder("usr/bin")
        .symlink("bin", "usr/bin")
        .symlink("absolute", "/usr")
        .symlink("climbing", "../../../../usr")
        .file("bin/sh", "1")
        .file("absolute/bin/ash", "2")
        .folder("climbing/lib")
        .file("climbing/.wh.local", "")
        .file("absolute/lib/.wh..wh..opq", "");
    stage.unpack(&archive.end()).unwrap();
    let layer = stage.layer();
    assert_eq!(fs::read(layer.join("usr/bin/sh")).unwrap(), b"1");
    assert_eq!(fs::read(layer.join("usr/bin/ash")).unwrap(), b"2");
    assert!(fs::symlink_metadata(layer.join("bin")).unwrap().is_symlink());
    let whiteout = fs::symlink_metadata(layer.join("usr/local")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    assert_eq!(fs::metadata(layer.join("usr/lib")).unwrap().mtime(), 1);
}

fn duplicates() {
    let stage = Stage::set();
    let archive = Tar::default()
        .file("file", "first")
        .hardlink("other", "file")
        .file("file", "second")
        .folder("kept")
        .file("kept/inside", "")
        .folder("kept")
        .folder("a")
        .file("a/b/c", "")
        .file("a", "a file at last")
        .file("d", "")
        .folder("d")
        .symlink("s", "../outside")
        .folder("s")
        .file("s/inside", "")
        .hardlink("file", "file")
        // As deep as folders may nest.
        .pax(&[("path", "d/".repeat(199).as_bytes())])
        .folder("deep")
        .file("d", "flat");
    stage.unpack(&archive.end()).unwrap();
    let read = |name: &str| fs::read_to_string(stage.layer().join(name)).unwrap();
    assert_eq!((read("file"), read("other")), ("second".into(), "first".into()));
    assert_eq!((read("kept/inside"), read("s/inside")), (String::new(), String::new()));
    assert_eq!(read("a"), "a file at last");
    assert_eq!(read("d"), "flat");
    assert!(!stage.temp.path().join("outside/inside").exists());
}

fn written_device() {
    let stage = Stage::set();
    // /dev/full: who writes to it is told.
    let archive = Tar::default()
        .device("dev", 1, 7)
        .hardlink("same", "dev")
        .file("dev", "data")
        .entry(b'6', "fifo", "", b"")
        .file("fifo", "data");
    stage.unpack(&archive.end()).unwrap();
    assert_eq!(fs::read(stage.layer().join("dev")).unwrap(), b"data");
    assert_eq!(fs::read(stage.layer().join("fifo")).unwrap(), b"data");
    let same = fs::symlink_metadata(stage.layer().join("same")).unwrap();
    assert!(same.file_type().is_char_device());
}

fn overlay_attributes() {
    let stage = Stage::set();
    let archive = Tar::default()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ])
        .folder("d");
    let unpacked = stage.unpack(&archive.end()).unwrap();
    assert_eq!(
        unpacked.left_out,
        [
            "d: attribute trusted.overlay.redirect: overlayfs' own, not a layer's",
            "d: attribute user.overlay.opaque: overlayfs' own, not a layer's",
        ]
    );
}

fn drained() {
    let stage = Stage::set();
    let mut archive = Tar::default().file("a", "x").end();
    archive.resize(100_000, 7);
    let mut reader = &archive[..];
    unpack(&mut reader, &stage.layer(), &UnpackOptions::default()).unwrap();
    assert_eq!(reader.len(), 0);
}
