//! The known ways out of a container, tried one by one, against the engine as it is
//! used. That the default hardening is in force is shown by the shim's own tests; here
//! it is attacked.
//!
//! This program is also what attacks: a container runs it as `/probe`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use testkit::Needs;

#[path = "cli/engine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod engine;
#[path = "security/flipper.rs"]
mod flipper;
#[path = "security/probe.rs"]
mod probe;

use engine::Engine;
use flipper::Flipper;

const ROOT: &[Needs] = &[Needs::Root, Needs::Overlay];
const USER: &[Needs] = &[Needs::Root, Needs::Overlay, Needs::User];

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "probe") {
        return probe::main(&words[2..]);
    }
    testkit::main(testkit::tests![
        ROOT no_descriptor_of_the_host_leads_out,
        ROOT the_engines_program_cannot_be_reached_by_who_is_joined,
        ROOT a_mount_cannot_be_led_out_by_a_link_that_changes,
        ROOT a_part_of_a_volume_cannot_be_led_out_of_it,
        ROOT a_volume_that_changes_while_it_is_filled_leads_nowhere,
        ROOT what_is_hidden_stays_hidden_behind_a_false_null,
        ROOT a_console_is_not_put_where_a_link_points,
        ROOT what_is_written_to_proc_goes_to_proc,
        ROOT the_host_runs_no_program_of_a_containers,
        ROOT namespaces_and_mounts_cannot_be_made_inside,
        ROOT shims_cannot_be_spoken_to_from_the_hosts_network,
        USER nobody_else_on_the_host_comes_to_a_containers_files,
        ROOT keys_and_terminals_stay_with_the_caller,
        ROOT a_list_of_users_that_never_ends_holds_nobody_up,
    ])
}

/// `run` with this program inside.
fn with_probe<'a>(flags: &[&'a str], mount: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&["--rm", "-v", mount], flags, &["host", "/probe", "probe"], words].concat()
}

fn probe_mount() -> String {
    format!("{}:/probe:ro", std::env::current_exe().unwrap().display())
}

/// A folder of the host that no container was given.
fn canary(engine: &Engine) -> PathBuf {
    let folder = engine.root.path().join("canary");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("secret"), "secret").unwrap();
    fs::set_permissions(folder.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

/// CVE-2024-21626: a descriptor that the runtime has open, as the working directory or
/// as a part of the program's path.
fn no_descriptor_of_the_host_leads_out() {
    let engine = Engine::new();
    engine.run(&["-d", "--name", "box", "host", "sleep", "60"]);
    for fd in 3..=10 {
        let folder = format!("/proc/self/fd/{fd}");
        let above = format!("{folder}/../../../../../../../../etc");
        for path in [&folder, &above] {
            let said = engine.run(&["--rm", "-w", path, "host", "pwd"]);
            assert!(said.code != 0 && said.out.is_empty(), "-w {path}: {said:?}");
            let said = engine.ask(&["exec", "-w", path, "box", "pwd"]);
            assert!(said.code != 0 && said.out.is_empty(), "exec -w {path}: {said:?}");
        }
        // There is nothing by that name, not even something that cannot be run.
        let program = format!("{folder}/../../../../../../../../bin/true");
        let said = engine.run(&["--rm", "host", &program]);
        assert_eq!(said.code, 127, "{program}: {said:?}");
        let said = engine.ask(&["exec", "box", &program]);
        assert_eq!(said.code, 127, "exec {program}: {said:?}");
    }
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

/// CVE-2019-5736 and CVE-2016-9962: a container's root looks at every process that comes
/// in, for the engine's program and for descriptors of the host.
fn the_engines_program_cannot_be_reached_by_who_is_joined() {
    let engine = Engine::new();
    let program = Path::new(env!("CARGO_BIN_EXE_coracle"));
    let before = fs::metadata(program).unwrap();
    let mount = probe_mount();
    let attacker = engine.start(&with_probe(
        &["--name", "box", "--tmpfs", "/tmp"],
        &mount,
        &["steal", &engine.word, "coracle"],
    ));
    let up = || engine.ask(&["exec", "box", "test", "-e", "/tmp/ready"]).code == 0;
    assert!(testkit::wait_until(Duration::from_secs(20), up), "the attacker does not come up");
    // A program that is the engine's own again, and one that has it as its interpreter.
    let script = "printf '#!/proc/self/exe\\n' > /tmp/trick; chmod +x /tmp/trick";
    engine.tell(&["exec", "box", "sh", "-c", script]);
    for _ in 0..6 {
        engine.ask(&["exec", "box", "/proc/self/exe", "--version"]);
        engine.ask(&["exec", "box", "/tmp/trick"]);
        engine.ask(&["exec", "box", "true"]);
        let join = ["--rm", "--pid", "container:box", "--init", "host", "true"];
        assert_eq!(engine.run(&join).code, 0);
    }
    engine.tell(&["exec", "box", "touch", "/tmp/stop"]);
    let said = engine::finish(attacker);
    assert_eq!(said.out, "looked\n", "{said:?}");
    let after = fs::metadata(program).unwrap();
    assert_eq!((after.len(), after.modified().ok()), (before.len(), before.modified().ok()));
    engine.assert_nothing_left();
}

/// CVE-2021-30465: the target of a mount lies in a volume that somebody else changes.
fn a_mount_cannot_be_led_out_by_a_link_that_changes() {
    let engine = Engine::new();
    let canary = canary(&engine);
    let shared = engine.root.path().join("shared");
    fs::create_dir_all(shared.join("a")).unwrap();
    symlink(&canary, shared.join("b")).unwrap();
    let _attacker = Flipper::start(shared.join("a"), shared.join("b"));
    let bind = format!("{}:/shared", shared.display());
    let inner = format!("{}:/shared/a/bound", shared.display());
    for _ in 0..10 {
        let flags = ["--rm", "-v", &bind, "--tmpfs", "/shared/a/memory", "-v", &inner];
        engine.run(&[&flags[..], &["host", "true"]].concat());
        let found: Vec<_> = fs::read_dir(&canary).unwrap().flatten().collect();
        assert_eq!(found.len(), 1, "{found:?}");
    }
    engine.assert_nothing_left();
}

/// The same for the source: a part of a volume.
fn a_part_of_a_volume_cannot_be_led_out_of_it() {
    let engine = Engine::new();
    let canary = canary(&engine);
    engine.tell(&["volume", "create", "data"]);
    let data = engine.root.path().join("volumes/data/_data");
    fs::create_dir(data.join("a")).unwrap();
    symlink(&canary, data.join("b")).unwrap();
    let attacker = Flipper::start(data.join("a"), data.join("b"));
    for _ in 0..10 {
        let mount = "type=volume,source=data,target=/x,volume-subpath=a";
        let said = engine.run(&["--rm", "--mount", mount, "host", "ls", "/x"]);
        assert!(!said.out.contains("secret"), "{said:?}");
    }
    drop(attacker);
    engine.assert_nothing_left();
}

/// A new volume takes what the image has at its place. Who has the volume already puts
/// links there meanwhile, and says that the copy was interrupted.
fn a_volume_that_changes_while_it_is_filled_leads_nowhere() {
    let engine = Engine::new();
    let canary = canary(&engine);
    let secret = canary.join("secret");
    engine.tell(&["volume", "create", "data"]);
    let data = engine.root.path().join("volumes/data/_data");
    fs::write(data.join("passwd"), "").unwrap();
    symlink(&secret, data.join("link")).unwrap();
    let attacker = Flipper::start(data.join("passwd"), data.join("link"));
    // One time in three the copy gets through; one in thirty the link is met unchecked.
    for _ in 0..60 {
        fs::write(data.join(".coracle-copy-unfinished"), "").unwrap();
        engine.run(&["--rm", "-v", "data:/etc", "host", "true"]);
        let mode = fs::metadata(&secret).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode, fs::read_to_string(&secret).unwrap().as_str()), (0o600, "secret"));
    }
    drop(attacker);
    engine.assert_nothing_left();
}

/// CVE-2025-31133: /dev/null, which is to cover what is hidden, is something else.
fn what_is_hidden_stays_hidden_behind_a_false_null() {
    let engine = Engine::new();
    let dev = engine.root.path().join("dev");
    fs::create_dir(&dev).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    let bind = format!("{}:/dev", dev.display());
    let script = "cat /proc/timer_list /proc/keys | wc -c; \
        stat -c %t:%T /proc/timer_list; (echo x > /proc/sys/kernel/core_pattern) 2>&1";
    let said = engine.run(&["--rm", "-v", &bind, "host", "sh", "-c", script]);
    assert!(said.out.starts_with("0\n1:3\n") && said.out.contains("Read-only"), "{said:?}");
    engine.assert_nothing_left();
}

/// CVE-2025-52565: /dev/console, where the terminal is to be mounted, is a link.
fn a_console_is_not_put_where_a_link_points() {
    let engine = Engine::new();
    let dev = engine.root.path().join("dev");
    fs::create_dir(&dev).unwrap();
    symlink("/proc/sys/kernel/domainname", dev.join("console")).unwrap();
    symlink("pts/ptmx", dev.join("ptmx")).unwrap();
    fs::create_dir(dev.join("pts")).unwrap();
    let bind = format!("{}:/dev", dev.display());
    // With terminals of the host's, or it would not get as far as to the console.
    let flags = ["--rm", "-t", "-v", &bind, "-v", "/dev/pts:/dev/pts"];
    let script = "grep -c ' /proc/sys/kernel/domainname ' /proc/self/mountinfo";
    let said = engine.run(&[&flags[..], &["host", "sh", "-c", script]].concat());
    // It ran, with the terminal on the link itself, or not at all.
    assert_eq!((said.out.as_str(), said.err.as_str()), ("0\r\n", ""), "{said:?}");
    engine.assert_nothing_left();
}

/// CVE-2025-52881 and CVE-2019-16884: /proc, or a part of it, is not what it seems.
fn what_is_written_to_proc_goes_to_proc() {
    let engine = Engine::new();
    let false_proc = engine.root.path().join("proc");
    fs::create_dir_all(false_proc.join("self")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", false_proc.join("self/oom_score_adj")).unwrap();
    let whole = format!("{}:/proc", false_proc.display());
    let part = format!("{}:/proc/self", false_proc.display());
    let links = engine.root.path().join("links");
    fs::create_dir(&links).unwrap();
    symlink("/proc", links.join("way")).unwrap();
    let base = format!("{}:/links", links.display());
    let behind = format!("{}:/links/way/sys", false_proc.display());
    for binds in [&["-v", &whole][..], &["-v", &part], &["-v", &base, "-v", &behind]] {
        let flags = [&["--rm", "--oom-score-adj", "100"], binds, &["host", "true"]].concat();
        let said = engine.run(&flags);
        assert!(said.code != 0 && said.err.contains("inside of /proc"), "{binds:?}: {said:?}");
    }
    let memory = engine.run(&["--rm", "--tmpfs", "/proc/self", "host", "true"]);
    assert!(memory.code != 0 && memory.err.contains("inside of /proc"), "{memory:?}");
    engine.assert_nothing_left();
}

/// release_agent, core_pattern, modprobe, uevent_helper and sysrq.
fn the_host_runs_no_program_of_a_containers() {
    let engine = Engine::new();
    let script = "for file in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent \
            /sys/fs/cgroup/notify_on_release /sys/fs/cgroup/*/notify_on_release \
            /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs \
            /sys/fs/cgroup/*/devices.allow /proc/sys/kernel/core_pattern \
            /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug /sys/kernel/uevent_helper \
            /proc/sysrq-trigger /proc/sys/fs/binfmt_misc/register /proc/sys/vm/panic_on_oom; do \
            (echo 1 > $file) 2> /dev/null && echo wrote $file; \
        done; \
        mkdir /tmp/cgroup; mount -t cgroup -o memory cgroup /tmp/cgroup 2> /dev/null && echo mounted; \
        mount -t cgroup2 cgroup /tmp/cgroup 2> /dev/null && echo mounted; \
        mount -o remount,rw /sys/fs/cgroup 2> /dev/null && echo remounted; \
        mount -o remount,rw /proc/sys 2> /dev/null && echo remounted; echo tried";
    // All that root may do without CAP_SYS_ADMIN changes nothing about it.
    for flags in [&["--rm"][..], &["--rm", "--security-opt", "seccomp=unconfined"]] {
        let said = engine.run(&[flags, &["host", "sh", "-c", script]].concat());
        assert_eq!(said.out, "tried\n", "{said:?}");
    }
    engine.assert_nothing_left();
}

fn namespaces_and_mounts_cannot_be_made_inside() {
    let engine = Engine::new();
    let script = "unshare -Ur true 2>&1; unshare -m true 2>&1; nsenter -t 1 -m true 2>&1; \
        mknod /tmp/disk b 8 0 && (: < /tmp/disk) 2>&1; mknod /tmp/mem c 1 1 && (: < /tmp/mem) 2>&1";
    let said = engine.run(&["--rm", "host", "sh", "-c", script]);
    assert_eq!(said.out.matches("not permitted").count(), 5, "{said:?}");
    engine.assert_nothing_left();
}

/// CVE-2020-15257: an abstract socket belongs to the network namespace, not to a folder.
fn shims_cannot_be_spoken_to_from_the_hosts_network() {
    let engine = Engine::new();
    let words = ["run", "-q", "-d", "--cgroup-parent", &engine.word, "--network", "host"];
    engine.tell(&[&words[..], &["--name", "box", "host", "sleep", "60"]].concat());
    let shim = engine.shim_of("box");
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{shim}/fd"))
        .unwrap()
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| {
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(String::from)
        })
        .collect();
    assert!(!sockets.is_empty(), "a shim listens");
    let seen = engine.tell(&["exec", "box", "cat", "/proc/net/unix"]);
    for line in seen.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (inode, name) = (fields[6], fields.get(7).copied().unwrap_or(""));
        let ours = sockets.iter().any(|socket| socket == inode);
        assert!(!ours || !name.starts_with('@'), "{line}");
    }
    let folder = engine.root.path().display().to_string();
    assert_ne!(engine.ask(&["exec", "box", "ls", &folder]).code, 0, "the socket's folder is there");
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

/// A program in a container's layer may be root's and set-user-ID: who could start it on
/// the host would be root there.
fn nobody_else_on_the_host_comes_to_a_containers_files() {
    let engine = Engine::new();
    let script = "cp /bin/sh /tmp/sh; chmod 4755 /tmp/sh; echo ready; exec sleep 60";
    engine.run(&["-d", "--name", "box", "-v", "data:/data", "host", "sh", "-c", script]);
    let made = || engine.ask(&["logs", "box"]).out == "ready\n";
    assert!(testkit::wait_until(Duration::from_secs(20), made));
    let id = engine.tell(&["inspect", "-f", "{{.Id}}", "box"]);
    let container = engine.root.path().join("containers").join(&id);
    assert!(container.join("upper/tmp/sh").exists());
    let user = testkit::user().expect("there is one");
    let paths = [
        container.join("upper/tmp/sh"),
        container.join("shim.sock"),
        container.join("log"),
        container.join("config.json"),
        engine.root.path().join("layers/."),
        engine.root.path().join("volumes/data/_data"),
    ];
    for path in paths {
        assert!(path.exists(), "{}", path.display());
        let status = user.command("/usr/bin/test").arg("-e").arg(&path).status().unwrap();
        assert!(!status.success(), "an ordinary user reaches {}", path.display());
    }
    engine.tell(&["rm", "-f", "box"]);
    engine.assert_nothing_left();
}

fn keys_and_terminals_stay_with_the_caller() {
    let engine = Engine::new();
    let mount = probe_mount();
    let open = ["--security-opt", "seccomp=unconfined"];
    let said = engine.run(&with_probe(&open, &mount, &["keyring"]));
    let (ours, theirs) = (probe::session_keyring(), said.out.trim().parse::<i64>());
    assert!(theirs.is_ok_and(|theirs| theirs > 0 && theirs != ours), "{ours} {said:?}");
    // With the default list keys cannot even be asked for.
    assert_eq!(engine.run(&with_probe(&[], &mount, &["keyring"])).out, "-1\n");
    // No terminal that what is typed could be put into.
    let script =
        "cut -d ' ' -f 5-7 /proc/self/stat; (: < /dev/tty) 2>&1 | grep -c 'No such device'";
    assert_eq!(engine.run(&["--rm", "host", "sh", "-c", script]).out, "1 1 0\n1\n");
    assert_eq!(
        engine.run(&with_probe(&[], &mount, &["tiocsti"])).out,
        "Inappropriate ioctl for device (os error 25)\n"
    );
    engine.assert_nothing_left();
}

/// The image's files are read before its program runs.
fn a_list_of_users_that_never_ends_holds_nobody_up() {
    let engine = Engine::new();
    let fifo = engine.root.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let begin = Instant::now();
    for bind in [format!("{}:/etc/passwd", fifo.display()), "/dev/zero:/etc/passwd".into()] {
        let said = engine.run(&["--rm", "-v", &bind, "-u", "somebody", "host", "true"]);
        assert!(said.err.contains("no such name"), "{said:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(30));
    engine.assert_nothing_left();
}
