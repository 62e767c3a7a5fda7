//! The library: what is mounted, seen from inside.
//!
//! A thread may leave its process's mount namespace. So each test is a thread that
//! becomes what the container's first process would be, as far as mounts go.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use namespaces::{CloneArgs, Mechanism, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rootfs::{Kind, Mount, Propagation, Rootfs, Scratch};
use testkit::{Needs, busybox_rootfs, temp_dir};

fn main() {
    let root = &[Needs::Root, Needs::Overlay, Needs::Program("busybox")];
    testkit::main(vec![
        testkit::test(
            "a_read_only_bind_is_so_all_the_way_down",
            root,
            a_read_only_bind_is_so_all_the_way_down,
        ),
        testkit::test("places_to_mount_on_are_made", root, places_to_mount_on_are_made),
        testkit::test("a_link_at_the_place_stays_inside", root, a_link_at_the_place_stays_inside),
        testkit::test("a_subpath_cannot_leave_its_volume", root, a_subpath_cannot_leave_its_volume),
        testkit::test("nothing_is_mounted_over_proc", root, nothing_is_mounted_over_proc),
        testkit::test(
            "a_volume_gets_the_images_content_once",
            root,
            a_volume_gets_the_images_content_once,
        ),
        testkit::test("an_interrupted_copy_is_done_again", root, an_interrupted_copy_is_done_again),
        testkit::test(
            "host_mounts_reach_a_slave_but_not_a_private_bind",
            root,
            host_mounts_reach_a_slave_but_not_a_private_bind,
        ),
        testkit::test("a_shared_bind_reaches_the_host", root, a_shared_bind_reaches_the_host),
    ])
}

/// Runs `look` in a thread whose root is a busybox with these mounts; `before` sees the
/// layer while it can still be changed.
fn inside<T: Send + 'static>(
    mounts: Vec<Mount>,
    before: impl FnOnce(&Path),
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let dir = temp_dir();
    let layer = dir.path().join("layer");
    fs::create_dir(&layer).unwrap();
    before(&layer);
    let mut scratch = Scratch::below(dir.path());
    scratch.before_clone(&mut CloneArgs::default())?;
    let mut root =
        Rootfs::new(vec![busybox_rootfs(), layer], Some(scratch.upper()), scratch.target());
    mounts.into_iter().for_each(|mount| root.add_mount(mount));
    root.before_clone(&mut CloneArgs::default())?;
    let seen = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        set_propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        root.in_child().map(|()| look())
    });
    let seen = seen.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    scratch.teardown()?;
    seen
}

fn set_propagation(path: impl AsRef<Path>, flags: MsFlags) {
    mount(None::<&str>, path.as_ref(), None::<&str>, flags, None::<&str>).unwrap();
}

fn mount_tmpfs(path: &Path) {
    mount(Some("test"), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

fn kind_of(error: std::io::Error) -> String {
    error.to_string().split(" (os").next().unwrap().to_owned()
}

/// In a mount namespace of its own, with a tmpfs at the path that `act` is given: a
/// host that may be changed.
fn on_a_host(act: impl FnOnce(&Path) + Send + 'static) {
    let host = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        set_propagation("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        let dir = temp_dir();
        mount_tmpfs(dir.path());
        set_propagation(dir.path(), MsFlags::MS_SHARED);
        act(dir.path());
        nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    });
    host.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn a_read_only_bind_is_so_all_the_way_down() {
    on_a_host(|host| {
        fs::create_dir(host.join("below")).unwrap();
        mount_tmpfs(&host.join("below"));
        let all = Mount::bind(host, "/all").read_only();
        let mut top = Mount::bind(host, "/top").read_only();
        let Kind::Bind { recursive_read_only, .. } = &mut top.kind else { unreachable!() };
        *recursive_read_only = false;
        let mut flat = Mount::bind(host, "/flat");
        let Kind::Bind { recursive, .. } = &mut flat.kind else { unreachable!() };
        *recursive = false;
        inside(
            vec![all, top, flat],
            |_| (),
            || {
                assert_eq!(kind_of(fs::write("/all/x", "").unwrap_err()), "Read-only file system");
                assert_eq!(
                    kind_of(fs::write("/all/below/x", "").unwrap_err()),
                    "Read-only file system"
                );
                assert_eq!(kind_of(fs::write("/top/x", "").unwrap_err()), "Read-only file system");
                fs::write("/top/below/seen", "").unwrap();
                assert!(fs::exists("/all/below/seen").unwrap());
                fs::write("/flat/x", "").unwrap();
                assert!(!fs::exists("/flat/below/seen").unwrap());
            },
        )
        .unwrap();
        assert!(host.join("x").exists());
    });
}

fn places_to_mount_on_are_made() {
    let dir = temp_dir();
    let file = dir.path().join("file");
    fs::write(&file, "content").unwrap();
    let mounts = vec![
        Mount::bind(dir.path(), "/new/deep/dir"),
        Mount::bind(&file, "/other/deep/file"),
        Mount::bind(&file, "/etc/passwd"),
    ];
    inside(
        mounts,
        |_| (),
        || {
            assert_eq!(fs::read_to_string("/new/deep/dir/file").unwrap(), "content");
            assert_eq!(fs::read_to_string("/other/deep/file").unwrap(), "content");
            assert_eq!(fs::read_to_string("/etc/passwd").unwrap(), "content");
        },
    )
    .unwrap();
    let told = |mount| inside(vec![mount], |_| (), || ()).unwrap_err().to_string();
    assert_eq!(
        told(Mount::bind(&file, "/etc")),
        "find a place to mount on at /etc in the container: Is a directory: \
         are you trying to mount a file onto a directory?"
    );
    assert_eq!(
        told(Mount::bind(dir.path(), "/etc/passwd")),
        "find a place to mount on at /etc/passwd in the container: Not a directory: \
         are you trying to mount a directory onto a file?"
    );
}

fn a_link_at_the_place_stays_inside() {
    let dir = temp_dir();
    let (host, source) = (dir.path().join("host"), dir.path().join("source"));
    fs::create_dir(&host).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("mark"), "").unwrap();
    let outside = host.clone();
    let mount = Mount::bind(&source, "/link/below");
    inside(
        vec![mount],
        move |layer| symlink(&outside, layer.join("link")).unwrap(),
        move || {
            assert!(host.join("below/mark").exists(), "the link leads to the same path, inside");
        },
    )
    .unwrap();
    assert!(!dir.path().join("host/below").exists());
}

fn a_subpath_cannot_leave_its_volume() {
    let dir = temp_dir();
    let volume = dir.path().join("volume");
    fs::create_dir_all(volume.join("part")).unwrap();
    fs::create_dir(dir.path().join("secret")).unwrap();
    fs::write(volume.join("part/mark"), "").unwrap();
    symlink("../secret", volume.join("out")).unwrap();
    let part = |below: &str| {
        let mut mount = Mount::bind(&volume, "/data");
        let Kind::Bind { subpath, .. } = &mut mount.kind else { unreachable!() };
        *subpath = Some(below.into());
        mount
    };
    inside(vec![part("part")], |_| (), || assert!(fs::exists("/data/mark").unwrap())).unwrap();
    let told = inside(vec![part("out")], |_| (), || ()).unwrap_err().to_string();
    assert!(told.starts_with("open out in "), "{told}");
}

fn nothing_is_mounted_over_proc() {
    let dir = temp_dir();
    for place in ["/proc/sys", "/proc/self/attr", "/link/sys"] {
        let mount = Mount::bind(dir.path(), place);
        let told = inside(vec![mount], |layer| symlink("proc", layer.join("link")).unwrap(), || ());
        assert_eq!(
            told.unwrap_err().to_string(),
            format!(
                "mount on {place}: it is inside of /proc: choose another path in the container"
            )
        );
    }
}

/// A directory of the image with all that a copy may lose.
fn rich(layer: &Path) {
    let data = layer.join("data");
    fs::create_dir_all(data.join("deep/er")).unwrap();
    fs::write(data.join("file"), "content").unwrap();
    fs::hard_link(data.join("file"), data.join("deep/same")).unwrap();
    symlink("/etc/passwd", data.join("link")).unwrap();
    fs::set_permissions(data.join("file"), PermissionsExt::from_mode(0o4750)).unwrap();
    std::os::unix::fs::chown(data.join("file"), Some(12), Some(34)).unwrap();
    fs::set_permissions(data.join("file"), PermissionsExt::from_mode(0o4750)).unwrap();
    std::os::unix::fs::lchown(data.join("link"), Some(5), Some(6)).unwrap();
    std::os::unix::fs::chown(&data, Some(7), Some(8)).unwrap();
    fs::set_permissions(&data, PermissionsExt::from_mode(0o1770)).unwrap();
}

fn volume_at_data(source: PathBuf) -> Mount {
    Mount { copy_up: true, ..Mount::bind(source, "/data") }
}

fn a_volume_gets_the_images_content_once() {
    let dir = temp_dir();
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    inside(vec![volume_at_data(volume.clone())], rich, || ()).unwrap();

    let file = fs::metadata(volume.join("file")).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (12, 34, 0o4750));
    assert_eq!(file.nlink(), 2);
    assert_eq!(fs::metadata(volume.join("deep/same")).unwrap().ino(), file.ino());
    assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
    let top = fs::metadata(&volume).unwrap();
    assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (7, 8, 0o1770));
    assert!(volume.join("deep/er").is_dir());

    // What is not empty is left alone.
    fs::remove_file(volume.join("file")).unwrap();
    inside(vec![volume_at_data(volume.clone())], rich, || {
        assert!(!fs::exists("/data/file").unwrap())
    })
    .unwrap();
}

fn an_interrupted_copy_is_done_again() {
    let dir = temp_dir();
    let volume = dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join(".coracle-copy-unfinished"), "").unwrap();
    fs::write(volume.join("file"), "cont").unwrap();
    symlink("old", volume.join("link")).unwrap();
    inside(vec![volume_at_data(volume.clone())], rich, || ()).unwrap();
    assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "content");
    assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert!(!volume.join(".coracle-copy-unfinished").exists());
}

fn host_mounts_reach_a_slave_but_not_a_private_bind() {
    on_a_host(|host| {
        fs::create_dir(host.join("later")).unwrap();
        let slave = Mount { propagation: Propagation::RSlave, ..Mount::bind(host, "/slave") };
        let (ready, is_ready) = mpsc::channel();
        let (mounted, is_mounted) = mpsc::channel();
        let late = host.join("later");
        let host_side = thread::spawn(move || {
            is_ready.recv().unwrap();
            mount_tmpfs(&late);
            fs::write(late.join("mark"), "").unwrap();
            mounted.send(()).unwrap();
        });
        inside(
            vec![slave, Mount::bind(host, "/private")],
            |_| (),
            move || {
                ready.send(()).unwrap();
                is_mounted.recv().unwrap();
                assert!(fs::exists("/slave/later/mark").unwrap());
                assert!(!fs::exists("/private/later/mark").unwrap());
                mount_tmpfs(Path::new("/slave"));
            },
        )
        .unwrap();
        host_side.join().unwrap();
        assert!(host.join("later/mark").exists(), "what a slave mounts does not go back");
    });
}

fn a_shared_bind_reaches_the_host() {
    on_a_host(|host| {
        fs::create_dir(host.join("sub")).unwrap();
        let shared = Mount { propagation: Propagation::RShared, ..Mount::bind(host, "/shared") };
        inside(
            vec![shared],
            |_| (),
            || {
                mount_tmpfs(Path::new("/shared/sub"));
                fs::write("/shared/sub/mark", "").unwrap();
            },
        )
        .unwrap();
        assert!(host.join("sub/mark").exists());
    });
}
