//! Docker's default list, as data: which system calls a container may make, and
//! which more come with a capability. The facts are those of Docker's documentation
//! (Seccomp security profiles for Docker) and of its published profile.

use oci_spec::runtime::{
    Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSeccompOperator as Op, LinuxSyscall,
    LinuxSyscallBuilder,
};

/// Files and folders.
const FILES: &str = "
    _llseek access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2
    dup3 faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod
    fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64
    fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 link
    linkat listmount lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
    newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile sendfile64
    splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range
    syncfs tee truncate truncate64 unlink unlinkat utime utimensat utimensat_time64 utimes
    vmsplice write writev
";

/// Extended attributes.
const XATTRS: &str = "
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr
    listxattrat llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat
";

/// Waiting for many things at once.
const WAITING: &str = "
    _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
    epoll_wait epoll_wait_old io_cancel io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 io_setup io_submit poll ppoll ppoll_time64 pselect6 pselect6_time64
    select
";

/// Sockets, but for their creation.
const SOCKETS: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall
    socketpair
";

/// Memory.
const MEMORY: &str = "
    brk cachestat madvise map_shadow_stack mincore mlock mlock2 mlockall mmap mmap2 mprotect
    mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    remap_file_pages
";

/// Processes and their limits.
const PROCESSES: &str = "
    execve execveat exit exit_group fork get_thread_area getcpu getpgid getpgrp getpid getppid
    getpriority getrandom getrlimit getrusage getsid gettid ioprio_get ioprio_set
    landlock_add_rule landlock_create_ruleset landlock_restrict_self prctl prlimit64
    process_mrelease riscv_hwprobe sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp set_thread_area set_tid_address setpgid setpriority
    setrlimit setsid sysinfo ugetrlimit umask uname uretprobe vfork wait4 waitid waitpid
";

/// Who a process is.
const IDENTITY: &str = "
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
    getresgid getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32
    setresuid setresuid32 setreuid setreuid32 setuid setuid32
";

/// Signals.
const SIGNALS: &str = "
    kill pause pidfd_open pidfd_send_signal restart_syscall rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn tgkill tkill
";

/// Time and timers.
const TIME: &str = "
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep
    setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64 times
";

/// Between processes.
const IPC: &str = "
    eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
    get_robust_list ipc membarrier memfd_create memfd_secret mq_getsetattr mq_notify mq_open
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl
    msgget msgrcv msgsnd pipe pipe2 process_vm_readv process_vm_writev ptrace rseq semctl semget
    semop semtimedop semtimedop_time64 set_robust_list shmat shmctl shmdt shmget signalfd
    signalfd4
";

/// What only one family of processors has.
#[cfg(target_arch = "x86_64")]
const PROCESSOR: &str = "arch_prctl modify_ldt";
#[cfg(target_arch = "aarch64")]
const PROCESSOR: &str =
    "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2";

/// What comes with a capability: the call checks for it, or is useless without it.
const WITH_CAPABILITY: [(Capability, &str); 14] = [
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
         umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module finit_module init_module"),
    (Capability::SysPacct, "acct"),
    (
        Capability::SysPtrace,
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    (Capability::SysRawio, "ioperm iopl"),
    (Capability::SysTime, "clock_settime clock_settime64 settimeofday stime"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::Syslog, "syslog"),
    (Capability::Bpf, "bpf"),
    (Capability::Perfmon, "perf_event_open"),
];

/// The bits of clone(2) that make a namespace: mount, cgroup, uts, ipc, user, pid, net.
const CLONE_NEW_ANY: u64 = 0x7e02_0000;

/// Linux as it is, or pretending to be 2.6, for 32 bits or all: what setarch(8) uses.
/// The last one asks and changes nothing.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Docker's list for a container that has these capabilities in its bounding set.
pub fn docker_default(capabilities: &Capabilities) -> LinuxSeccomp {
    let mut syscalls = vec![always()];
    syscalls.extend(sockets());
    syscalls
        .extend(PERSONALITIES.map(|value| allow("personality", Some(arg(Op::ScmpCmpEq, value)))));
    for (capability, names) in WITH_CAPABILITY {
        if capabilities.contains(&capability) {
            syscalls.push(allow(names, None));
        }
    }
    if !capabilities.contains(&Capability::SysAdmin) {
        syscalls.extend(clone_without_namespaces());
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(libc::EPERM as u32)
        .architectures(super::native_family())
        .syscalls(syscalls)
        .build()
        .expect("every part of the list is given")
}

fn always() -> LinuxSyscall {
    let groups = [
        FILES, XATTRS, WAITING, SOCKETS, MEMORY, PROCESSES, IDENTITY, SIGNALS, TIME, IPC, PROCESSOR,
    ];
    allow(&groups.join(" "), None)
}

/// Every family but AF_ALG (38), whose old code has had too many holes, and
/// AF_VSOCK (40), which speaks to the hypervisor past every namespace.
fn sockets() -> [LinuxSyscall; 3] {
    let family = |op, value| allow("socket", Some(arg(op, value)));
    [family(Op::ScmpCmpLt, 38), family(Op::ScmpCmpEq, 39), family(Op::ScmpCmpGt, 40)]
}

/// Processes and threads, but no namespaces. A filter cannot look behind the pointer
/// that clone3(2) takes, so that call does not exist, and the C library takes clone(2).
fn clone_without_namespaces() -> [LinuxSyscall; 2] {
    let no_clone3 = LinuxSyscallBuilder::default()
        .names(vec!["clone3".into()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(libc::ENOSYS as u32);
    [
        allow("clone", Some(arg(Op::ScmpCmpMaskedEq, CLONE_NEW_ANY))),
        no_clone3.build().expect("names and action are given"),
    ]
}

/// The first argument compared with `value`; what remains under a mask is 0.
fn arg(op: Op, value: u64) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default()
        .index(0usize)
        .op(op)
        .value(value)
        .value_two(0u64)
        .build()
        .expect("every part of the argument is given")
}

fn allow(names: &str, arg: Option<LinuxSeccompArg>) -> LinuxSyscall {
    let syscall = LinuxSyscallBuilder::default()
        .names(names.split_whitespace().map(String::from).collect::<Vec<_>>())
        .action(LinuxSeccompAction::ScmpActAllow);
    match arg {
        Some(arg) => syscall.args(vec![arg]),
        None => syscall,
    }
    .build()
    .expect("names and action are given")
}
