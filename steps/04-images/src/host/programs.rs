//! Which of the host's programs the image has, by name. What is not there is left out.

/// Where a shell looks for programs, and where the image's own shell will.
pub(super) const PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where distributions without these folders keep their programs.
pub(super) const ELSEWHERE: [&str; 2] =
    ["/run/current-system/sw/bin", "/run/current-system/profile/bin"];

/// Names of programs, a line for each package they usually come in.
pub(super) const PROGRAMS: &str = "
sh bash dash ash
[ arch b2sum base32 base64 basename basenc cat chcon chgrp chmod chown chroot cksum comm cp csplit cut
date dd df dir dircolors dirname du echo env expand expr factor false fmt fold groups head hostid id
install join link ln logname ls md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste
pathchk pinky pr printenv printf ptx pwd readlink realpath rm rmdir runcon seq sha1sum sha224sum
sha256sum sha384sum sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail tee test
timeout touch tr true truncate tsort tty uname unexpand uniq unlink users vdir wc who whoami yes
ps top free uptime pgrep pkill kill pidof pmap pwdx watch sysctl vmstat w
ip ss bridge ping ping4 ping6 tracepath nc
grep egrep fgrep sed awk mawk gawk find xargs diff cmp tar gzip gunzip zcat which less more vi
mount umount findmnt mountpoint hostname dmesg lsns nsenter unshare setsid setpriv flock prlimit
taskset getopt su getent clear reset tput capsh getcap
";

/// Terminals that people sit at.
pub(super) const TERMINALS: [&str; 17] = [
    "ansi",
    "dumb",
    "linux",
    "vt100",
    "vt102",
    "vt220",
    "xterm",
    "xterm-color",
    "xterm-256color",
    "screen",
    "screen-256color",
    "tmux",
    "tmux-256color",
    "rxvt",
    "rxvt-unicode-256color",
    "alacritty",
    "xterm-kitty",
];

/// Where the descriptions of terminals are; each in a folder of its first letter, or
/// of that letter's number.
pub(super) const TERMINFO: [&str; 3] = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];

/// Libraries that the C library opens by itself, to know users and hosts.
pub(super) const NAME_SERVICES: [&str; 3] =
    ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];
