//! The lesson's binary, from outside.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use testkit::{Leftovers, Needs, User, busybox_rootfs, temp_dir};

const BINARY: &str = env!("CARGO_BIN_EXE_rootfs");

/// A name, and what proves it in a place of its own.
type Claim = (&'static str, fn(&Place));

fn main() {
    let root = [Needs::Root, Needs::Overlay, Needs::Program("busybox")];
    let user = [Needs::User, Needs::Subids, Needs::UserNamespaces, Needs::Program("busybox")];
    let for_both: [Claim; 12] = [
        ("a_working_directory_that_is_missing_is_made", a_missing_workdir_is_made),
        ("shared_processes_are_seen", shared_processes_are_seen),
        ("the_top_layer_wins", the_top_layer_wins),
        ("changes_are_kept_apart_and_told", changes_are_kept_apart_and_told),
        ("two_hundred_layers_are_one_root", two_hundred_layers_are_one_root),
        ("dev_is_the_containers_own", dev_is_the_containers_own),
        ("the_host_is_hidden_and_protected", the_host_is_hidden_and_protected),
        ("a_read_only_root_takes_no_writes", a_read_only_root_takes_no_writes),
        ("no_path_leads_back_to_the_host", no_path_leads_back_to_the_host),
        ("links_in_the_image_cannot_redirect", links_in_the_image_cannot_redirect),
        ("bad_input_is_one_sentence", bad_input_is_one_sentence),
        ("nothing_is_left_after_kill_9", nothing_is_left_after_kill_9),
    ];
    let mut tests = Vec::new();
    for (name, act) in for_both {
        tests.push(testkit::test(name, &root, move || act(&Place::new(None))));
        let name = format!("{name}_as_an_ordinary_user");
        tests.push(testkit::test(&name, &user, move || act(&Place::new(testkit::user()))));
    }
    let setfattr = [Needs::Root, Needs::Program("setfattr")];
    tests.push(testkit::test("a_capability_of_a_program_is_a_change", &setfattr, || {
        a_capability_is_a_change(&Place::new(None))
    }));
    let only_root: [Claim; 3] = [
        ("shared_ipc_is_shared_memory_too", shared_ipc_is_shared_memory_too),
        ("upper_on_overlayfs_is_explained", upper_on_overlayfs_is_explained),
        ("the_timeline_tells_the_mounts", the_timeline_tells_the_mounts),
    ];
    for (name, act) in only_root {
        tests.push(testkit::test(name, &root, move || act(&Place::new(None))));
    }
    testkit::main(tests)
}

/// A folder for one test: what the binary makes goes there too.
struct Place {
    dir: tempfile::TempDir,
    left: Leftovers,
    user: Option<User>,
}

impl Place {
    /// For what root runs, or what `user` runs.
    fn new(user: Option<User>) -> Place {
        let dir = temp_dir();
        let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        for writable in ["tmp", "kept"] {
            let writable = dir.path().join(writable);
            fs::create_dir(&writable).unwrap();
            let (uid, gid) = user.as_ref().map_or((0, 0), |user| (user.uid, user.gid));
            std::os::unix::fs::chown(writable, Some(uid), Some(gid)).unwrap();
        }
        Place { left: Leftovers::matching(&[&name]), dir, user }
    }

    fn binary(&self) -> Command {
        let mut command = match &self.user {
            None => Command::new(BINARY),
            Some(user) => user.command(testkit::reachable(BINARY)),
        };
        command.env("TMPDIR", self.path("tmp"));
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A layer with these files.
    fn layer(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let layer = self.path(name);
        fs::create_dir_all(&layer).unwrap();
        for (file, content) in files {
            let file = layer.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        self.give(&layer);
        layer
    }

    /// A layer's files belong to who unpacked it.
    fn give(&self, path: &Path) {
        let Some(user) = &self.user else { return };
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).unwrap();
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            self.give(&entry.path());
        }
    }

    fn command(&self, layers: &[&Path], more: &[&str]) -> Command {
        let mut command = self.binary();
        command.arg("run");
        for layer in layers {
            command.arg("--rootfs").arg(layer);
        }
        command.args(more);
        command
    }

    fn run(&self, layers: &[&Path], more: &[&str]) -> Output {
        let output = self.command(layers, more).output().unwrap();
        self.assert_clean();
        output
    }

    /// What a shell in the container prints; it must be content.
    fn shell(&self, layers: &[&Path], flags: &[&str], script: &str) -> String {
        let busybox = busybox_rootfs();
        let layers: Vec<&Path> =
            std::iter::once(busybox.as_path()).chain(layers.iter().copied()).collect();
        let output = self.run(&layers, &[flags, &["sh", "-c", script]].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn assert_clean(&self) {
        let left: Vec<_> = fs::read_dir(self.path("tmp")).unwrap().flatten().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        self.left.assert_none();
    }
}

fn the_top_layer_wins(place: &Place) {
    let low = place.layer("low", &[("which", "low"), ("low", "")]);
    let top = place.layer("top", &[("which", "top"), ("a:b,c\\d/e", "")]);
    let odd = place.layer("odd:name,with\\all", &[("odd", "")]);
    let told = place.shell(&[&low, &odd, &top], &[], "cat /which; ls -d /low /odd /a:b*/e");
    assert_eq!(told, "top/a:b,c\\d/e\n/low\n/odd\n");
}

fn changes_are_kept_apart_and_told(place: &Place) {
    let files = [
        ("d/kept", "1"),
        ("d/gone", "1"),
        ("whole/a", ""),
        ("whole/b", ""),
        ("changed", "1"),
        ("touched", ""),
        ("home/x", ""),
    ];
    let layer = place.layer("layer", &files);
    let upper = place.path("kept");
    let flags = ["--upper", upper.to_str().unwrap()];
    let script = "rm /d/gone; echo 2 > /changed; rm -r /whole; mkdir /whole; echo > /whole/new; \
        mkdir /new; echo > /new/file; : >> /touched; chmod 700 /home";
    place.shell(&[&layer], &flags, script);
    assert_eq!(fs::read_to_string(layer.join("changed")).unwrap(), "1");

    let busybox = busybox_rootfs();
    let told = place
        .binary()
        .arg("changes")
        .args([Path::new("--rootfs"), &busybox, Path::new("--rootfs"), &layer, &upper])
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let expected = "C /changed\nC /d\nD /d/gone\nC /home\nA /new\nA /new/file\nC /whole\n\
        D /whole/a\nD /whole/b\nA /whole/new\n";
    assert_eq!(told, expected);

    // Where there are none, none are made.
    let nothing = place.binary().arg("changes").arg(place.path("nothing")).output().unwrap();
    assert_eq!(nothing.status.code(), Some(125));
    assert!(!place.path("nothing").exists());

    // The next start finds them.
    let again = place.shell(&[&layer], &flags, "cat /changed; ls /whole /d");
    assert_eq!(again, "2\n/d:\nkept\n\n/whole:\nnew\n");
}

fn two_hundred_layers_are_one_root(place: &Place) {
    // Long names: one page of mount options would hold twenty of them.
    let name = |n: usize| format!("{n:03}{}", "x".repeat(200));
    let layers: Vec<_> = (0..200)
        .map(|n| place.layer(&name(n), &[(&format!("file{n}"), ""), ("last", &n.to_string())]))
        .collect();
    let layers: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
    assert_eq!(place.shell(&layers, &[], "ls / | grep -c ^file; cat /last"), "200\n199");
}

fn dev_is_the_containers_own(place: &Place) {
    let script = "ls /dev; for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
        echo lost > /dev/null; head -c 3 /dev/zero | wc -c; readlink /dev/ptmx; ls /dev/pts; \
        echo x | cat /dev/stdin; echo x > /dev/shm/x && stat -c %a /dev/shm /dev/pts/ptmx; umask 0; stat -c %a /dev/null";
    let expected = "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\n\
        zero\n3\npts/ptmx\nptmx\nx\n1777\n666\n666\n";
    assert_eq!(place.shell(&[], &[], script), expected);
    let size = "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2";
    assert_eq!(place.shell(&[], &["--shm-size", "0"], size), "65536\n");
    let device = place.shell(
        &[],
        &["--device", "/dev/null:/dev/deep/null", "--shm-size", "1m"],
        "stat -c %t:%T /dev/deep/null; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2",
    );
    assert_eq!(device, "1:3\n1024\n");
}

fn the_host_is_hidden_and_protected(place: &Place) {
    let script = "cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l; \
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_helper /proc/irq/default_smp_affinity; \
        do test -e $f && echo x 2>/dev/null >$f && echo wrote $f; done; \
        chmod 777 /proc/keys 2>/dev/null && echo changed; mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; true";
    assert_eq!(place.shell(&[], &[], script), "0\n0\n");
}

fn a_read_only_root_takes_no_writes(place: &Place) {
    let script = "touch /x 2>&1; touch /tmp/x 2>&1; touch /dev/shm/x && echo shm; echo > /dev/null && echo null";
    let told = place.shell(&[], &["--read-only"], script);
    assert_eq!(
        told,
        "touch: /x: Read-only file system\ntouch: /tmp/x: Read-only file system\nshm\nnull\n"
    );
}

fn no_path_leads_back_to_the_host(place: &Place) {
    fs::write(place.path("secret"), "host").unwrap();
    let secret = place.path("secret");
    let secret = secret.to_str().unwrap();
    // Up from the root; through the root of pid 1; a second chroot while standing outside
    // of it; what is left of the old mounts.
    let script = format!(
        "cd ../../../..; cat .{secret} 2>/dev/null; cat /proc/1/root{secret} 2>/dev/null; \
         cat /proc/1/cwd/../../../..{secret} 2>/dev/null; mkdir /jail; cp /bin/busybox /jail; \
         chroot /jail /busybox cat ../../../../..{secret} 2>/dev/null; \
         cut -d' ' -f5 /proc/self/mountinfo | grep -v '^/$\\|^/proc\\|^/sys\\|^/dev'; true"
    );
    assert_eq!(place.shell(&[], &[], &script), "");
}

/// Where a link in the image lies at a place to mount on, the mount must not follow it.
fn links_in_the_image_cannot_redirect(place: &Place) {
    for (link, target) in [
        ("proc", "/host"),
        ("proc", "../../.."),
        ("dev", "../../.."),
        ("sys", "/tmp"),
        ("dev", "/etc"),
    ] {
        let layer = place.layer(&format!("{link}{}", target.len()), &[]);
        fs::copy(busybox_rootfs().join("bin/busybox"), layer.join("busybox")).unwrap();
        fs::create_dir_all(layer.join("etc")).unwrap();
        symlink(target, layer.join(link)).unwrap();
        let output = place.run(&[&layer], &["/busybox", "true"]);
        let told = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "rootfs: find a place to mount on at /{link} in the container: Too many symbolic links encountered: \
             the image has a symbolic link there, which could lead the mount elsewhere\n"
        );
        assert_eq!(told, expected, "{link} -> {target}");
        assert_eq!(output.status.code(), Some(125));
    }
}

fn a_missing_workdir_is_made(place: &Place) {
    let busybox = busybox_rootfs();
    let layer = place.layer("layer", &[("file", "")]);
    symlink("../../made", layer.join("link")).unwrap();
    let script = "pwd; stat -c '%a %u' .";
    let told = place.shell(&[&layer], &["-w", "/new/deep"], script);
    assert_eq!(told, "/new/deep\n755 0\n");
    // Made by root, whoever works there; and in the container, wherever a link leads.
    let told = place.shell(&[&layer], &["-w", "/link/x", "-u", "1"], script);
    assert_eq!(told, "/made/x\n755 0\n");
    for (flags, dir, answer) in [
        ("--read-only", "/new", "make the working directory /new: Read-only file system"),
        ("--init", "/file", "change to the working directory /file: Not a directory"),
    ] {
        let output = place.run(&[&busybox, &layer], &[flags, "-w", dir, "true"]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told, format!("rootfs: {answer}\n"));
    }
}

fn shared_processes_are_seen(place: &Place) {
    let pid = std::process::id();
    let look = format!(
        "test -d /proc/{pid} && echo seen; test -d /proc/sys && echo x >/proc/sys/kernel/hostname"
    );
    let busybox = busybox_rootfs();
    let output = place.run(&[&busybox], &["--pid", "host", "sh", "-c", &look]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "seen\n");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("Read-only file system"), "{told}");
    assert_eq!(place.shell(&[], &[], "cd /proc; echo [0-9]*"), "1\n");
}

fn bad_input_is_one_sentence(place: &Place) {
    let busybox = busybox_rootfs();
    let first = |output: Output| {
        assert!(output.stdout.is_empty());
        let told = String::from_utf8(output.stderr)
            .unwrap()
            .replace(place.dir.path().to_str().unwrap(), "DIR");
        format!("{} {}", output.status.code().unwrap(), told.trim_end())
    };
    assert_eq!(
        first(place.run(&[&place.path("none")], &["sh"])),
        "125 rootfs: open the layer DIR/none: No such file or directory"
    );
    assert_eq!(
        first(place.run(&[&busybox], &["no-such-program"])),
        "127 rootfs: exec no-such-program: executable file not found in $PATH"
    );
    assert_eq!(
        first(place.run(&[&busybox], &["--device", "/etc/passwd", "sh"])),
        "125 rootfs: /etc/passwd is not a device"
    );
    fs::write(place.path("file"), "").unwrap();
    let file = place.layer("file-at-proc", &[("proc", "")]);
    assert_eq!(
        first(place.run(&[&file], &["sh"])),
        "125 rootfs: find a place to mount on at /proc in the container: Not a directory: \
         are you trying to mount a directory onto a file?"
    );
}

fn a_capability_is_a_change(place: &Place) {
    let files = [("tool", "#!"), ("other", "#!")];
    let upper = place.layer("kept/upper", &files);
    // As overlayfs copies up: with the time.
    let cp = Command::new("cp").arg("-a").args([&upper, &place.path("layer")]).status();
    assert!(cp.unwrap().success());
    // cap_net_raw+ep; see capabilities(7) and the kernel's struct vfs_cap_data.
    let net_raw = "0x0100000200200000000000000000000000000000";
    let mut set = Command::new("setfattr");
    set.args(["-n", "security.capability", "-v", net_raw]).arg(upper.join("tool"));
    assert!(set.status().unwrap().success());
    let mut changes = place.binary();
    changes.arg("changes").arg("--rootfs").args([place.path("layer"), place.path("kept")]);
    let told = changes.output().unwrap();
    assert_eq!(String::from_utf8(told.stdout).unwrap(), "C /tool\n");
}

fn shared_ipc_is_shared_memory_too(place: &Place) {
    let name = place.dir.path().file_name().unwrap().to_str().unwrap();
    let shared = Path::new("/dev/shm").join(name);
    fs::write(&shared, "host").unwrap();
    let read = format!("cat /dev/shm/{name} 2>/dev/null || echo none");
    let (own, host) = (place.shell(&[], &[], &read), place.shell(&[], &["--ipc", "host"], &read));
    fs::remove_file(&shared).unwrap();
    assert_eq!((own.as_str(), host.as_str()), ("none\n", "host"));
}

fn upper_on_overlayfs_is_explained(place: &Place) {
    for name in ["low", "up", "work", "merged"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    let script = format!(
        "cd {}; mount -t overlay overlay -o lowerdir=low,upperdir=up,workdir=work merged; \
         TMPDIR=$PWD/merged {BINARY} run --rootfs {} true",
        place.dir.path().display(),
        busybox_rootfs().display()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("rootfs: mount overlay on /"), "{told}");
    assert!(
        told.contains("the upper directory is itself on overlayfs; pass --root on a real disk"),
        "{told}"
    );
    place.left.assert_none();
}

fn nothing_is_left_after_kill_9(place: &Place) {
    let busybox = busybox_rootfs();
    let mut child = place
        .command(&[&busybox], &["sh", "-c", "mkdir -p /a/b; echo > /a/b/c; echo ready; sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    child.kill().unwrap();
    child.wait().unwrap();
    let gone = || fs::read_dir(place.path("tmp")).unwrap().next().is_none();
    assert!(testkit::wait_until(Duration::from_secs(5), gone), "the scratch directory stays");

    // And at any moment before.
    for step in 0..24 {
        let mut child = place.command(&[&busybox], &["sleep", "1000"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(700 * step));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(testkit::wait_until(Duration::from_secs(5), gone), "killed after {step} steps");
    }
    place.assert_clean();
}

fn the_timeline_tells_the_mounts(place: &Place) {
    let busybox = busybox_rootfs();
    let output = place.run(&[&busybox], &["--explain", "true"]);
    let told = String::from_utf8(output.stderr).unwrap();
    let calls: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("ch. 3") && !line.contains("cgroup"))
        .map(|line| line.trim_start().split("  ").nth(1).unwrap())
        .collect();
    let expected = [
        "mount overlay on /",
        "mount proc on /proc (rw,nosuid,nodev,noexec)",
        "mount tmpfs on /dev (rw,nosuid,strictatime,mode=755,size=65536k)",
        "mount devpts on /dev/pts (rw,nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5)",
        "mount sysfs on /sys (ro,nosuid,nodev,noexec)",
        "mount mqueue on /dev/mqueue (rw,nosuid,nodev,noexec)",
        "mount tmpfs on /dev/shm (rw,nosuid,nodev,noexec,mode=1777,size=64m)",
        "mknod /dev/null and 5 more",
        "symlink /dev/fd and 5 more",
    ];
    assert_eq!(calls[..expected.len()], expected);
    assert_eq!(calls.last(), Some(&"pivot_root(\".\", \".\")"));
}
