//! The default hardening, observed from inside.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use serde_json::json;
use testkit::Needs;

use super::Fixture;

pub fn tests() -> Vec<Trial> {
    let needs = [Needs::Root, Needs::Overlay, Needs::Program("busybox")];
    let test = |name, act: fn()| testkit::test(name, &needs, act);
    vec![
        test("capabilities_and_seccomp_are_dockers", status),
        test("no_new_privs_is_an_option", no_new_privs),
        test("one_call_of_each_refused_group_is_refused", refused),
        test("another_user_has_no_capabilities_and_owns_the_streams", other_user),
        test("masked_paths_are_empty_and_proc_sys_is_read_only", masked),
        test("only_harmless_devices_open", devices),
        test("no_descriptor_of_ours_is_inherited", descriptors),
        test("the_engines_program_cannot_be_written_to", own_program),
    ]
}

fn facts(fixture: &Fixture) -> BTreeMap<String, String> {
    let text = fixture.run().stdout;
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.into(), value.trim().into())).collect()
}

fn status() {
    let facts = facts(&Fixture::new("cat /proc/self/status"));
    // Docker's fourteen capabilities.
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(facts[set], "00000000a80425fb", "{set}");
    }
    assert_eq!(facts["CapInh"], "0000000000000000");
    assert_eq!(facts["CapAmb"], "0000000000000000");
    assert_eq!(facts["Seccomp"], "2");
    assert_eq!(facts["NoNewPrivs"], "0");
}

fn no_new_privs() {
    let mut fixture = Fixture::new("cat /proc/self/status");
    fixture.spec["process"]["noNewPrivileges"] = json!(true);
    let facts = facts(&fixture);
    assert_eq!((&*facts["NoNewPrivs"], &*facts["Seccomp"]), ("1", "2"));
    assert_eq!(facts["CapEff"], "00000000a80425fb");
}

fn refused() {
    use libc::*;
    let refused = [
        // Mounts, namespaces, kernel modules, keys, time, swap, tracing, other tricks.
        SYS_mount,
        SYS_umount2,
        SYS_pivot_root,
        SYS_fsopen,
        SYS_open_tree,
        SYS_move_mount,
        SYS_unshare,
        SYS_setns,
        SYS_init_module,
        SYS_finit_module,
        SYS_delete_module,
        SYS_kexec_load,
        SYS_add_key,
        SYS_keyctl,
        SYS_request_key,
        SYS_settimeofday,
        SYS_clock_settime,
        SYS_swapon,
        SYS_swapoff,
        SYS_bpf,
        SYS_perf_event_open,
        SYS_userfaultfd,
        SYS_io_uring_setup,
        SYS_open_by_handle_at,
        SYS_reboot,
        SYS_acct,
        SYS_quotactl,
        SYS_syslog,
        SYS_vhangup,
        SYS_mbind,
        SYS_kcmp,
    ];
    let calls: Vec<_> = refused.iter().map(|call| call.to_string()).collect();
    let command = format!("/probe probe {} {SYS_clone3} {SYS_getpid}", calls.join(" "));
    let ended = Fixture::new(&command).with_probe().run();
    let answers: Vec<i32> = ended.stdout.lines().map(|line| line.parse().unwrap()).collect();
    for (call, answer) in refused.iter().zip(&answers) {
        assert_eq!(*answer, EPERM, "system call {call}");
    }
    assert_eq!(answers[refused.len()..], [ENOSYS, 0], "{}", ended.stderr);
}

fn other_user() {
    let script = "id -un; id -Gn; grep CapEff /proc/self/status; echo again > /dev/stdout";
    let mut fixture = Fixture::new(script);
    fixture.instructions.session.user = "guest".into();
    let ended = fixture.run();
    assert_eq!(
        ended.stdout, "guest\nguest wheel\nCapEff:\t0000000000000000\nagain\n",
        "{}",
        ended.stderr
    );
}

fn masked() {
    let script = "cat /proc/timer_list | wc -c; ls -A /sys/firmware | wc -l; \
        echo 1 > /proc/sys/kernel/domainname; touch /sys/x; \
        grep -cE ' /proc/(bus|fs|irq|sys) proc ro' /proc/mounts";
    let ended = Fixture::new(script).run();
    assert_eq!(ended.stdout, "0\n0\n4\n");
    assert_eq!(ended.stderr.matches("Read-only file system").count(), 2, "{}", ended.stderr);
}

fn devices() {
    let script = "ls /dev | tr '\\n' ' '; mknod /tmp/m c 1 1 && cat /tmp/m | head -c 1";
    let ended = Fixture::new(script).run();
    assert_eq!(
        ended.stdout,
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
    );
    assert!(ended.stderr.contains("Operation not permitted"), "{}", ended.stderr);
}

fn descriptors() {
    let ended = Fixture::new("ls /proc/self/fd | tr '\\n' ' '").run();
    // The last one is the directory that ls reads.
    assert_eq!(ended.stdout, "0 1 2 3 ");
}

/// CVE-2019-5736: the container's program is the engine's own, which then opens itself.
fn own_program() {
    let mut fixture = Fixture::new("");
    fixture.spec["process"]["args"] =
        json!(["/proc/self/exe", "probe", libc::SYS_getpid.to_string()]);
    // The engine's program does run inside: what it is, it can open, and must not write.
    assert_eq!(fixture.run().stdout, "0\n");
    let mut fixture = Fixture::new("");
    let exe = std::env::current_exe().unwrap();
    let before = std::fs::metadata(&exe).unwrap().len();
    fixture.spec["process"]["args"] = json!(["/proc/self/exe", "probe-write"]);
    let ended = fixture.run();
    assert!(ended.stdout.contains("Read-only file system"), "{ended:?}");
    assert_eq!(std::fs::metadata(&exe).unwrap().len(), before);
}
