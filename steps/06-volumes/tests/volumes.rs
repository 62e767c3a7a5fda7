//! The lesson's binary, from outside, as root and as an ordinary user.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use testkit::{Leftovers, Needs, User, busybox_rootfs, temp_dir, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_volumes");

/// A name, and what proves it in a place of its own.
type Claim = (&'static str, fn(&Place));

fn main() {
    let root = [Needs::Root, Needs::Overlay, Needs::Program("busybox")];
    let user = [Needs::User, Needs::Subids, Needs::UserNamespaces, Needs::Program("busybox")];
    let claims: [Claim; 13] = [
        ("a_volume_outlives_its_container", a_volume_outlives_its_container),
        ("a_new_volume_gets_the_images_content", a_new_volume_gets_the_images_content),
        ("a_volume_below_a_bind_gets_the_images_content", a_volume_below_a_bind),
        ("what_has_no_name_goes_with_its_container", what_has_no_name_goes_with_its_container),
        ("binds_show_the_host", binds_show_the_host),
        ("a_tmpfs_is_limited_and_gone", a_tmpfs_is_limited_and_gone),
        ("a_subpath_is_all_that_is_seen", a_subpath_is_all_that_is_seen),
        (
            "a_volume_in_use_stays_until_its_holder_is_dead",
            a_volume_in_use_stays_until_its_holder_is_dead,
        ),
        (
            "bad_input_is_one_sentence_and_leaves_nothing",
            bad_input_is_one_sentence_and_leaves_nothing,
        ),
        ("a_volume_on_etc_leaves_the_container_its_name", a_volume_on_etc_leaves_its_name),
        ("a_working_directory_in_a_volume_stays_there", a_workdir_in_a_volume_stays_there),
        ("the_commands_speak_as_docker_does", the_commands_speak_as_docker_does),
        ("a_result_that_cannot_be_printed_is_an_error", unprintable),
    ];
    let mut tests = Vec::new();
    for (name, act) in claims {
        tests.push(testkit::test(name, &root, move || act(&Place::new(None))));
        let name = format!("{name}_as_an_ordinary_user");
        tests.push(testkit::test(&name, &user, move || act(&Place::new(testkit::user()))));
    }
    testkit::main(tests)
}

/// An engine's root for one test, and an image of its own to stand on.
struct Place {
    dir: tempfile::TempDir,
    left: Leftovers,
    user: Option<User>,
}

impl Place {
    fn new(user: Option<User>) -> Place {
        let dir = temp_dir();
        let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        let place = Place { left: Leftovers::matching(&[&name]), dir, user };
        let copied =
            Command::new("cp").arg("-a").arg(busybox_rootfs()).arg(place.path("image")).status();
        assert!(copied.unwrap().success());
        fs::create_dir_all(place.path("image/data/deep")).unwrap();
        fs::write(place.path("image/data/deep/file"), "image").unwrap();
        fs::set_permissions(place.path("image/data"), PermissionsExt::from_mode(0o750)).unwrap();
        fs::create_dir(place.path("root")).unwrap();
        fs::create_dir(place.path("host")).unwrap();
        fs::write(place.path("host/file"), "host").unwrap();
        place.give(place.dir.path());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ids(&self) -> (u32, u32) {
        self.user.as_ref().map_or((0, 0), |user| (user.uid, user.gid))
    }

    /// All of it belongs to whom the test runs as.
    fn give(&self, path: &Path) {
        let (uid, gid) = self.ids();
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
        if path.is_dir() && !path.is_symlink() {
            fs::read_dir(path).unwrap().flatten().for_each(|entry| self.give(&entry.path()));
        }
    }

    fn binary(&self) -> Command {
        let mut command = match &self.user {
            None => Command::new(BINARY),
            Some(user) => user.command(testkit::reachable(BINARY)),
        };
        command.env("CORACLE_ROOT", self.path("root")).current_dir(self.dir.path());
        command
    }

    fn run_command(&self, flags: &[&str], script: &str) -> Command {
        let mut command = self.binary();
        command.args(["run", "--network", "none", "--rootfs"]).args(flags);
        command.arg(self.path("image")).args(["sh", "-c", script]);
        command
    }

    fn run(&self, flags: &[&str], script: &str) -> Output {
        let output = self.run_command(flags, script).output().unwrap();
        self.assert_clean();
        output
    }

    /// What a shell in the container prints; it must be content.
    #[track_caller]
    fn shell(&self, flags: &[&str], script: &str) -> String {
        let output = self.run(flags, script);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `volumes volume …` prints, or its error.
    fn volume(&self, args: &[&str]) -> String {
        let output = self.binary().arg("volume").args(args).output().unwrap();
        let told = if output.status.success() { output.stdout } else { output.stderr };
        String::from_utf8(told).unwrap()
    }

    /// The container's own directories are gone. After a SIGKILL the sentinel needs a moment.
    #[track_caller]
    fn assert_clean(&self) {
        let entries = |dir: &str| fs::read_dir(self.path(dir)).into_iter().flatten().flatten();
        let is_scratch =
            |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("coracle-");
        let left = || entries("root").filter(is_scratch).chain(entries("root/etc")).count();
        assert!(wait_until(Duration::from_secs(5), || left() == 0), "directories are left behind");
        self.left.assert_none();
    }
}

fn a_volume_outlives_its_container(place: &Place) {
    place.shell(&["-v", "kept:/kept"], "echo first > /kept/file");
    assert_eq!(place.shell(&["-v", "kept:/elsewhere/deep"], "cat /elsewhere/deep/file"), "first\n");
    let told = place.shell(&["-v", "kept:/kept:ro"], "echo x 2>&1 > /kept/file; cat /kept/file");
    assert_eq!(told, "sh: can't create /kept/file: Read-only file system\nfirst\n");
    assert_eq!(place.volume(&["rm", "kept"]), "kept\n");
    assert!(!place.path("root/volumes/kept").exists());
}

fn a_new_volume_gets_the_images_content(place: &Place) {
    assert_eq!(
        place.shell(&["-v", "data:/data"], "cat /data/deep/file; stat -c %a /data"),
        "image750\n"
    );
    let data = place.path("root/volumes/data/_data");
    let found = fs::metadata(&data).unwrap();
    assert_eq!(
        (found.uid(), found.gid(), found.mode() & 0o777),
        (place.ids().0, place.ids().1, 0o750)
    );
    place.shell(
        &["-v", "data:/data"],
        "rm -r /data/deep; test ! -e /data/deep && echo > /data/mine",
    );
    assert_eq!(place.shell(&["-v", "data:/data"], "ls /data"), "mine\n");
    assert_eq!(place.shell(&["-v", "plain:/data:nocopy"], "ls /data"), "");
}

fn a_volume_on_etc_leaves_its_name(place: &Place) {
    let named = ["-h", "box", "-v", "etc:/etc"];
    assert_eq!(place.shell(&named, "cat /etc/hostname"), "box\n");
    // Its own name is mounted over the volume, and not copied into it.
    let copied = fs::read_to_string(place.path("root/volumes/etc/_data/hostname"));
    assert_ne!(copied.unwrap_or_default(), "box\n");
    // Whoever mounts something there themselves has meant it.
    let file = format!("{}:/etc/hostname", place.path("host/file").display());
    assert_eq!(place.shell(&["-h", "box", "-v", &file], "cat /etc/hostname"), "host");
}

/// As developers mount their sources over an application, and spare what the image built.
fn a_volume_below_a_bind(place: &Place) {
    fs::create_dir(place.path("host/deep")).unwrap();
    fs::write(place.path("host/deep/mine"), "host").unwrap();
    place.give(&place.path("host/deep"));
    let flags = ["-v", "./host:/data", "-v", "kept:/data/deep"];
    assert_eq!(
        place.shell(&flags, "ls /data /data/deep"),
        "/data:\ndeep\nfile\n\n/data/deep:\nfile\n"
    );
    assert!(place.path("host/deep/mine").exists());
    let flags = ["--tmpfs", "/data", "-v", "/data/deep"];
    assert_eq!(place.shell(&flags, "cat /data/deep/file"), "image");
    place.volume(&["rm", "kept"]);
}

fn what_has_no_name_goes_with_its_container(place: &Place) {
    assert_eq!(place.shell(&["-v", "/data"], "cat /data/deep/file; echo > /data/x"), "image");
    assert_eq!(place.volume(&["ls", "-q"]), "");
    let id = place.volume(&["create"]);
    assert_eq!(id.trim().len(), 64);
    assert!(place.volume(&["prune", "-f"]).contains(&id));
}

fn binds_show_the_host(place: &Place) {
    let script = "cat /here/file; echo mine > /here/new; cat /one";
    let file = format!("{}:/one:ro", place.path("host/file").display());
    assert_eq!(place.shell(&["-v", "./host:/here:z", "-v", &file], script), "hosthost");
    let new = fs::metadata(place.path("host/new")).unwrap();
    assert_eq!(new.uid(), place.ids().0, "root of the container is who started it");
    let mount = format!("type=bind,src={},dst=/here,readonly", place.path("host").display());
    assert_eq!(
        place.shell(&["--mount", &mount], "touch /here/x 2>&1; true"),
        "touch: /here/x: Read-only file system\n"
    );
    place.shell(&["-v", "./host/made/deep:/here"], "true");
    assert!(place.path("host/made/deep").is_dir(), "-v makes the source");
}

fn a_tmpfs_is_limited_and_gone(place: &Place) {
    let script = "grep -c ' /run tmpfs rw,nosuid,nodev,noexec.*size=1024k' /proc/mounts; \
        stat -c %a /run; head -c 2m /dev/zero > /run/x 2>/dev/null || echo full";
    assert_eq!(place.shell(&["--tmpfs", "/run:size=1m,mode=1770"], script), "1\n1770\nfull\n");
    let mount = "type=tmpfs,dst=/run,tmpfs-size=1m,tmpfs-mode=1770";
    assert_eq!(place.shell(&["--mount", mount], script), "1\n1770\nfull\n");
    let made = place.volume(&[
        "create",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=1m",
        "memory",
    ]);
    assert_eq!(made, "memory\n");
    assert_eq!(
        place.shell(&["-v", "memory:/run"], "df -k /run | tail -1 | tr -s ' ' | cut -d' ' -f2"),
        "1024\n"
    );
}

fn a_subpath_is_all_that_is_seen(place: &Place) {
    place.shell(&["-v", "data:/data"], "ln -s ../../.. /data/out; echo part > /data/deep/part");
    let mount = |below: &str| format!("type=volume,src=data,dst=/part,volume-subpath={below}");
    assert_eq!(
        place.shell(&["--mount", &mount("deep")], "ls /part; cat /part/../file 2>/dev/null; true"),
        "file\npart\n"
    );
    // The link leads to the volume itself, not out of it.
    assert_eq!(place.shell(&["--mount", &mount("out")], "ls /part"), "deep\nout\n");
    let output = place.run(&["--mount", &mount("missing")], "true");
    assert_eq!(output.status.code(), Some(125));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("volumes: open missing in ") && told.contains("No such file"),
        "{told}"
    );
}

fn a_volume_in_use_stays_until_its_holder_is_dead(place: &Place) {
    let mut child = place
        .run_command(&["-v", "data:/data", "-v", "/other"], "echo ready; sleep 1000")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    let told = place.volume(&["rm", "-f", "data"]);
    assert!(told.starts_with("volumes: remove data: volume is in use - ["), "{told}");
    assert_eq!(place.volume(&["prune", "-a", "-f"]), "Total reclaimed space: 0 B\n");

    child.kill().unwrap();
    child.wait().unwrap();
    let free = || place.volume(&["ls", "-q", "-f", "dangling=true"]) == "data\n";
    assert!(wait_until(Duration::from_secs(5), free), "{}", place.volume(&["ls"]));
    assert_eq!(place.volume(&["rm", "data"]), "data\n");
    place.assert_clean();
}

fn bad_input_is_one_sentence_and_leaves_nothing(place: &Place) {
    let told = |flags: &[&str]| {
        let output = place.run(flags, "true");
        let told = String::from_utf8(output.stderr).unwrap();
        format!("{} {}", output.status.code().unwrap(), told.trim_end())
    };
    let expected = [
        (&["-v", "/tmp:"][..], "125 volumes: invalid volume specification: '/tmp:'"),
        (&["-v", "/a:/b:x"], "125 volumes: invalid mode: x"),
        (
            &["-v", "a/b:/c"],
            "125 volumes: create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
        ),
        (&["-v", "aa:/c", "--tmpfs", "/c/"], "125 volumes: Duplicate mount point: /c"),
        (
            &["-v", "aa:/"],
            "125 volumes: invalid volume specification: 'aa:/': invalid mount config for type \"volume\": invalid specification: destination can't be '/'",
        ),
        (
            &["--mount", "type=bind,src=/no/such,dst=/c"],
            "125 volumes: invalid mount config for type \"bind\": bind source path does not exist: /no/such",
        ),
        (
            &["--mount", "type=bind,src=/,dst=c"],
            "125 volumes: invalid mount config for type \"bind\": invalid mount path: 'c' mount path must be absolute",
        ),
        (
            &["-v", "./host/file:/data"],
            "125 volumes: find a place to mount on at /data in the container: Is a directory: are you trying to mount a file onto a directory?",
        ),
        (
            &["-v", "./host:/proc/sys"],
            "125 volumes: mount on /proc/sys: it is inside of /proc: choose another path in the container",
        ),
        (
            &["-v", "aa:/c:shared"],
            "125 volumes: invalid volume specification: 'aa:/c:shared': invalid mount config for type \"volume\": field BindOptions must not be specified",
        ),
        (
            &["--mount", "dst=/c,readonly"],
            "125 volumes: invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
        ),
        (&["-v", "./host:/c:rshared"], ""),
    ];
    for (flags, expected) in expected {
        let told = told(flags);
        match expected {
            "" => assert!(told.contains("but it is not a shared mount"), "{told}"),
            expected => assert_eq!(told, expected),
        }
    }
    assert_eq!(place.volume(&["ls", "-q"]), "");
}

fn a_workdir_in_a_volume_stays_there(place: &Place) {
    let flags = ["-v", "kept:/kept", "-w", "/kept/not/there"];
    assert_eq!(place.shell(&[&flags[..], &["-u", "1000"]].concat(), "pwd"), "/kept/not/there\n");
    assert_eq!(place.shell(&["-v", "kept:/kept"], "ls /kept/not"), "there\n");
    assert_eq!(place.volume(&["rm", "kept"]), "kept\n");
}

fn the_commands_speak_as_docker_does(place: &Place) {
    assert_eq!(place.volume(&["create", "--label", "a=1", "one"]), "one\n");
    assert_eq!(place.volume(&["create", "two"]), "two\n");
    assert_eq!(place.volume(&["ls"]), "DRIVER    VOLUME NAME\nlocal     one\nlocal     two\n");
    assert_eq!(place.volume(&["ls", "-q", "--filter", "label=a"]), "one\n");
    let inspected: serde_json::Value =
        serde_json::from_str(&place.volume(&["inspect", "one"])).unwrap();
    assert_eq!(inspected[0]["Mountpoint"], place.path("root/volumes/one/_data").to_str().unwrap());
    assert_eq!(inspected[0]["Labels"]["a"], "1");
    assert_eq!(place.volume(&["inspect", "none"]), "volumes: get none: no such volume\n");
    assert_eq!(place.volume(&["rm", "none"]), "volumes: get none: no such volume\n");
    assert_eq!(place.volume(&["rm", "-f", "none"]), "none\n");
    let output = place.binary().args(["volume", "inspect", "one", "none", "two"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found[0]["Name"], &found[1]["Name"]), (&"one".into(), &"two".into()));
    assert_eq!(place.volume(&["create", ""]).len(), 65, "a name of its own");
    fs::write(place.path("root/volumes/two/_data/file"), [0; 2048]).unwrap();
    chown(place.path("root/volumes/two/_data/file"), Some(place.ids().0), None).unwrap();
    assert!(place.volume(&["prune", "-f"]).ends_with("\n\nTotal reclaimed space: 0 B\n"));
    assert_eq!(place.volume(&["prune", "-f"]), "Total reclaimed space: 0 B\n");
    assert_eq!(
        place.volume(&["prune", "-f", "-a", "--filter", "label!=a"]),
        "Deleted Volumes:\ntwo\n\nTotal reclaimed space: 2 KiB\n"
    );
    assert_eq!(place.volume(&["rm", "one"]), "one\n");
}

fn unprintable(place: &Place) {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let end = |args: &[&str], stdout: Stdio| {
        let output = place.binary().arg("volume").args(args).stdout(stdout).output().unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    };
    let told = "volumes: write to standard output: No space left on device\n";
    for args in [&["create", "one"][..], &["ls"], &["inspect", "one"], &["prune"]] {
        assert_eq!(end(args, full().into()), (told.to_owned(), Some(1)), "{args:?}");
    }
    // That nobody reads on is none: `volume ls | head -1`.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(end(&["ls"], writer.into()), (String::new(), Some(0)));
    // What is only said on the way holds up no container.
    let mut run = place.run_command(&["-v", "one:/data:z"], "exit 7");
    assert_eq!(run.stderr(full()).status().unwrap().code(), Some(7));
}
