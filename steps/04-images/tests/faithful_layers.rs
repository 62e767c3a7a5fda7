//! Layers come out as they went in: as GNU tar would unpack them, and as overlayfs
//! wants to find them.

#[allow(dead_code, reason = "each test uses a part of it")]
mod layer;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use images::unpack::{UnpackOptions, unpack};
use layer::{Tar, difference, tree};
use testkit::Needs;

/// Set for this program when it is started again, in a user namespace: unpack the
/// standard input there.
const UNPACK_HERE: &str = "FAITHFUL_LAYERS_UNPACK";
/// Set as well if owners count there.
const OWNERS_COUNT: &str = "FAITHFUL_LAYERS_OWNERS";

fn main() {
    if let Some(dir) = std::env::var_os(UNPACK_HERE) {
        let ignore_owners = std::env::var_os(OWNERS_COUNT).is_none();
        let options = UnpackOptions { ignore_owners, ..UnpackOptions::default() };
        match unpack(std::io::stdin(), Path::new(&dir), &options) {
            Ok(unpacked) => println!("{}", unpacked.left_out.join("\n")),
            Err(error) => println!("{error}"),
        }
        return;
    }
    let tar = [Needs::Root, Needs::Program("tar"), Needs::Program("getfattr")];
    let overlay = [Needs::Root, Needs::Overlay, Needs::Program("unshare")];
    let rootless = [Needs::User, Needs::UserNamespaces, Needs::Program("unshare")];
    testkit::main(vec![
        testkit::test("everything_in_a_layer_is_as_gnu_tar_unpacks_it", &tar, as_gnu_tar),
        testkit::test("an_archive_may_end_with_its_last_byte_of_data", &[], without_an_end),
        testkit::test("a_hole_in_a_sparse_file_stays_a_hole", &tar[..2], holes),
        testkit::test("overlayfs_hides_what_a_layer_removes", &overlay, hidden),
        testkit::test("overlayfs_of_an_ordinary_user_does_so_too", &rootless, hidden_rootless),
        testkit::test("an_ordinary_user_is_told_what_was_left_out", &rootless, left_out),
        testkit::test("an_owner_without_an_id_here_is_named", &rootless, no_such_owner),
        testkit::test("a_strict_umask_changes_no_mode", &[Needs::Program("sh")], umask),
    ])
}

/// Makes one of everything that a folder can hold.
const EVERYTHING: &str = r#"
    set -e
    mkdir -p usr/bin empty tmp 'a folder' "$(printf 'odd\n\\name')"
    printf data > usr/bin/file; chmod 4755 usr/bin/file; chown 1234:5678 usr/bin/file
    printf data > usr/bin/group; chmod 2711 usr/bin/group
    printf data > usr/bin/open; chmod 0666 usr/bin/open; chown 0:42 usr/bin/open
    printf data > usr/bin/secret; chmod 0000 usr/bin/secret
    : > empty/file
    head -c 700000 /dev/urandom > large
    head -c 512 /dev/zero > block
    ln usr/bin/file usr/bin/again; ln usr/bin/file z-again
    ln -s /etc/passwd absolute; ln -s ../nowhere dangling; chown -h 7:8 dangling
    ln dangling z-dangling
    mkfifo -m 0622 fifo; mknod -m 0666 null c 1 3; mknod -m 0640 disk b 259 300000
    chmod 1777 tmp; chmod 0500 'a folder'; chmod 2755 empty; chown 99:100 empty
    long=$(printf 'l%.0s' $(seq 200)); mkdir -p $long; printf x > $long/$long
    ln -s $long/$long $long/link; ln $long/$long z-long
    truncate -s 2000000 holes; printf middle | dd of=holes bs=1 seek=900000 conv=notrunc 2>/dev/null
    truncate -s 500000 all-hole
    setfattr -n user.plain -v value large
    setfattr -n user.binary -v 0x0a3d000a large
    setfattr -n user.of.a.folder -v x empty
    setfattr -n trusted.of.a.link -v x -h absolute
    setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 usr/bin/open
    touch -d '2001-02-03 04:05:06.789012345Z' usr/bin/file
    touch -d '1969-12-31 23:59:58.25Z' large
    touch -h -d '2011-01-01 00:00:00.5Z' dangling
    touch -d '2002-02-02 02:02:02.2Z' empty usr/bin usr tmp fifo null .
"#;

fn sh(folder: &Path, script: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(script).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Some builders write neither the padding after the last entry nor the end.
fn without_an_end() {
    let mut tar = Tar::default().entry(b'0', "file", "", b"whole").0;
    tar.truncate(512 + b"whole".len());
    let dir = testkit::temp_dir();
    let root = dir.path().join("layer");
    std::fs::create_dir(&root).unwrap();
    let options = UnpackOptions { ignore_owners: true, ..UnpackOptions::default() };
    unpack(tar.as_slice(), &root, &options).unwrap();
    assert_eq!(std::fs::read(root.join("file")).unwrap(), b"whole");
    tar.pop();
    assert!(unpack(tar.as_slice(), &dir.path().join("other"), &options).is_err());
}

fn as_gnu_tar() {
    let temp = testkit::temp_dir();
    let source = temp.path().join("source");
    fs::create_dir(&source).unwrap();
    sh(&source, EVERYTHING);
    for how in [
        "--format=pax --xattrs --xattrs-include='*'",
        "--format=pax -S --sparse-version=0.0",
        "--format=pax -S --sparse-version=0.1",
        "--format=pax -S --sparse-version=1.0",
        "--format=gnu -S",
        "--format=gnu",
        "--format=oldgnu -S",
        // ustar has no room for these.
        "--format=ustar --exclude='lll*' --exclude=z-long --exclude=large",
    ] {
        let pack =
            format!("rm -rf ours theirs; mkdir ours theirs; tar {how} -C source -cf it.tar .");
        sh(temp.path(), &pack);
        sh(temp.path(), "tar --numeric-owner --xattrs --xattrs-include='*' -pxf it.tar -C theirs");
        let (ours, theirs) = (temp.path().join("ours"), temp.path().join("theirs"));
        let archive = fs::File::open(temp.path().join("it.tar")).unwrap();
        let unpacked = unpack(archive, &ours, &UnpackOptions::default()).expect(how);
        assert_eq!(unpacked.left_out, [""; 0], "{how}");
        assert_eq!(difference(&tree(&ours), &tree(&theirs)), "", "{how}");
        let attributes = "find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex";
        assert_eq!(sh(&ours, attributes), sh(&theirs, attributes), "{how}");
    }
}

fn holes() {
    let temp = testkit::temp_dir();
    sh(temp.path(), "truncate -s 100M holes; printf x >> holes; mkdir ours");
    for version in ["0.0", "0.1", "1.0"] {
        let pack = format!("tar --format=pax -S --sparse-version={version} -cf it.tar holes");
        sh(temp.path(), &pack);
        let archive = fs::File::open(temp.path().join("it.tar")).unwrap();
        let ours = temp.path().join("ours");
        unpack(archive, &ours, &UnpackOptions::default()).unwrap();
        let meta = fs::metadata(ours.join("holes")).unwrap();
        assert_eq!(meta.len(), (100 << 20) + 1);
        assert!(meta.blocks() < 100, "{version}: {} blocks of 512 bytes", meta.blocks());
    }
}

/// Two layers: what the lower one has, and what the upper one says about it.
fn two_layers() -> (Vec<u8>, Vec<u8>) {
    let lower =
        ["stays", "goes", "opaque/old", "dir/old", "replaced/old", "implied/old", "late/old"]
            .into_iter()
            .fold(Tar::default(), |tar, name| tar.file(name, "lower"));
    let upper = Tar::default()
        .file(".wh.goes", "")
        .folder("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "upper")
        .file("dir/.wh.old", "")
        .file("dir/new", "upper")
        // Hidden, and brought anew: as a folder that is named, and as one that is not.
        .file(".wh.replaced", "")
        .folder("replaced")
        .file("replaced/new", "upper")
        .file(".wh.implied", "")
        .file("implied/new", "upper")
        .file("late/new", "upper")
        .file(".wh.late", "");
    (lower.end(), upper.end())
}

/// What is to be seen when the upper lies on the lower.
const SEEN: &str = "dir/new implied/new late/new opaque/new replaced/new stays ";

/// Mounts the two layers over each other, and lists the files.
fn look(option: &str) -> String {
    format!(
        "mkdir -p merged && mount -t overlay overlay -o lowerdir=upper:lower{option} merged \
         && cd merged && find . -type f -printf '%P\\n' | sort | tr '\\n' ' '"
    )
}

fn hidden() {
    let temp = testkit::temp_dir();
    let (lower, upper) = two_layers();
    for (name, layer) in [("lower", lower), ("upper", upper)] {
        let dir = temp.path().join(name);
        fs::create_dir(&dir).unwrap();
        unpack(&layer[..], &dir, &UnpackOptions::default()).unwrap();
    }
    let seen = sh(temp.path(), &format!("unshare --mount sh -c \"{}\"", look("")));
    assert_eq!(seen, SEEN);
}

/// Unpacks `layer` into the folder `name` of the user's home, as root of a user namespace.
fn unpack_rootless(user: &testkit::User, name: &str, layer: &[u8]) -> String {
    unpack_with(user, name, layer, &[])
}

fn unpack_with(user: &testkit::User, name: &str, layer: &[u8], set: &[&str]) -> String {
    let dir = user.home().join(name);
    let made = user.command("mkdir").arg(&dir).status().unwrap();
    assert!(made.success());
    let mut child = user
        .command("unshare")
        .args(["--user", "--map-root-user"])
        .arg(testkit::reachable(std::env::current_exe().unwrap()))
        .env(UNPACK_HERE, &dir)
        .envs(set.iter().map(|name| (name, "1")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(layer).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn hidden_rootless() {
    let user = testkit::user().unwrap();
    let (lower, upper) = two_layers();
    unpack_rootless(&user, "lower", &lower);
    unpack_rootless(&user, "upper", &upper);
    let output = user
        .command("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &look(",userxattr")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), SEEN);
}

fn left_out() {
    let user = testkit::user().unwrap();
    let layer = Tar::default()
        .device("null", 1, 3)
        .raw(b"", |header| {
            header.as_old_mut().name[..6].copy_from_slice(b"setuid");
            header.set_mode(0o4755);
            header.set_uid(33);
        })
        .pax(&[("SCHILY.xattr.trusted.x", b"y")])
        .file("file", "data");
    let told = unpack_rootless(&user, "layer", &layer.end());
    assert_eq!(
        told,
        "null: device 1:3: it needs root\n\
         file: attribute trusted.x: Operation not permitted\n"
    );
    // It would run as us, where it was to run as 33.
    let mode = fs::metadata(user.home().join("layer/setuid")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

fn no_such_owner() {
    let user = testkit::user().unwrap();
    let entry = |kind: u8| {
        Tar::default().raw(b"", |header| {
            header.set_entry_type(tar::EntryType::new(kind));
            header.as_old_mut().name[..4].copy_from_slice(b"it/x");
            header.as_old_mut().linkname[0] = b'x';
            header.set_uid(33);
            header.set_gid(34);
        })
    };
    for (name, kind) in [("file", b'0'), ("link", b'2'), ("folder", b'5')] {
        let told = unpack_with(&user, name, &entry(kind).end(), &[OWNERS_COUNT]);
        let expected = "set the attributes of \"it/x\": Invalid argument: it belongs to 33:34, \
            which this user has no id for: give more in /etc/subuid and /etc/subgid\n";
        assert_eq!(told, expected, "{name}");
    }
}

fn umask() {
    let temp = testkit::temp_dir();
    fs::create_dir(temp.path().join("layer")).unwrap();
    let layer = Tar::default().folder("a").file("a/b", "").file("implied/c", "").end();
    fs::write(temp.path().join("it.tar"), layer).unwrap();
    let unpack = format!(
        "umask 077; {UNPACK_HERE}=layer {} < it.tar",
        std::env::current_exe().unwrap().display()
    );
    sh(temp.path(), &unpack);
    for name in ["a", "a/b", "implied", "implied/c", "."] {
        let mode = fs::metadata(temp.path().join("layer").join(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o755, "{name}");
    }
}
