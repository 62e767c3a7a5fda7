//! The system calls that need `unsafe`. All of this crate's `unsafe` is here.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFd;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::Pid;

/// seccomp(2): installs a filter in this thread.
pub(super) fn seccomp(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let len = program.len().try_into().map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions at `filter`, which outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    Errno::result(done).map(drop)
}

/// A second mount of the file that `path` names, attached nowhere, that cannot be
/// written through: open_tree(2) and mount_setattr(2).
pub(super) fn read_only_clone(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    // SAFETY: the kernel has just made the descriptor, and nobody else owns it.
    let tree = unsafe { OwnedFd::from_raw_fd(Errno::result(fd)? as i32) };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the empty path means the descriptor itself; the attributes outlive the
    // call and are as long as we say.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    Errno::result(done).map(|_| tree)
}

/// fork(2): the child's pid in the parent, nothing in the child. Only for a shim, which
/// has a single thread: a lock that another one holds would stay locked in the child.
pub(super) fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: the process has a single thread.
    let pid = Errno::result(unsafe { libc::fork() })?;
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}

/// pidfd_open(2).
pub(super) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: takes two numbers, and returns a descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        Ok(OwnedFd::from_raw_fd(Errno::result(fd)? as i32))
    }
}

/// Sends descriptors along with a short message: SCM_RIGHTS of unix(7).
pub(super) fn send_fds(
    socket: BorrowedFd,
    message: &[u8],
    fds: &[impl AsRawFd],
) -> Result<(), Errno> {
    let fds: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let message = [IoSlice::new(message)];
    sendmsg::<()>(socket.as_raw_fd(), &message, &rights, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// Receives that message, its length at least, and at most `MOST` descriptors,
/// close-on-exec. At the end of the file both are empty.
pub(super) fn receive_fds<const MOST: usize>(
    socket: BorrowedFd,
    message: &mut [u8],
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = nix::cmsg_space!([RawFd; MOST]);
    let mut message = [IoSliceMut::new(message)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut message, Some(&mut space), flags)?;
    let mut all = Vec::with_capacity(MOST);
    for control in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just put them into our table; nobody else owns them.
            all.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((received.bytes, all))
}

/// Puts `new` in the place of `old`, of the same length, among the arguments of this
/// process as ps(1) shows them. What this program has read of them, it has read.
pub(super) fn replace_argument(old: &[u8], new: &[u8]) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // What follows the name in parentheses begins with field 3; see proc_pid_stat(5).
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let numbers: Vec<usize> = fields.skip(48 - 3).take(2).flat_map(str::parse).collect();
    let [start, end] = numbers[..] else { return };
    if start == 0 {
        return;
    }
    // SAFETY: between arg_start and arg_end the kernel has put the strings that this
    // process was started with; nobody has a reference to them, and they can be written.
    let arguments = unsafe {
        let first = std::ptr::with_exposed_provenance_mut::<u8>(start);
        std::slice::from_raw_parts_mut(first, end.saturating_sub(start))
    };
    let place = arguments.windows(old.len()).position(|window| window == old);
    if let Some(place) = place.filter(|_| old.len() == new.len()) {
        arguments[place..place + new.len()].copy_from_slice(new);
    }
}

/// Closes every descriptor but the first three and this one. For a fork that never
/// goes back to whatever owns the others.
pub(super) fn close_all_but(kept: RawFd) {
    let kept = kept as libc::c_uint;
    for (first, last) in [(3, kept - 1), (kept + 1, libc::c_uint::MAX)] {
        if first <= last {
            // SAFETY: takes three numbers; the owners of these are not used any more.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// Ends this process at once: no destructors, which are the parent's.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Tells a terminal its size: ioctl_tty(2), TIOCSWINSZ.
pub(super) fn set_window_size(terminal: BorrowedFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads a winsize there, which outlives the call.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(done).map(drop)
}

/// How much of what was written to a unix socket its peer has not read yet, by the
/// kernel's measure of memory: unix(7), SIOCOUTQ.
pub fn unread_by_peer(socket: BorrowedFd) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes a number there. SIOCOUTQ has the value of TIOCOUTQ.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(done).map(|_| bytes.max(0) as usize)
}

/// The first place of a byte: memchr(3), which looks at 32 bytes at a time.
pub(super) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    // SAFETY: reads `len` bytes at most, which are there.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), byte.into(), bytes.len()) };
    (!found.is_null()).then(|| found.addr() - bytes.as_ptr().addr())
}

/// poll(2), at most for so long, after giving back what is not needed meanwhile: the
/// allocator's free pages, and those of the program itself, which the kernel reads
/// again on demand. Nothing comes in between, or it would be read again at once.
pub(super) fn poll_with_little_memory(
    fds: &mut [PollFd],
    at_most: Option<Duration>,
) -> Result<i32, Errno> {
    // Rounded up, or the last millisecond would be spent in many polls of none.
    let patience = at_most.map_or(-1, |time| time.as_millis().min(i32::MAX as u128 - 1) as i32 + 1);
    let mut segments = Segments { count: 0, ranges: [(0, 0); 16] };
    // SAFETY: the first frees what is not in use. The callback matches the signature
    // that is asked for, and its data is what it takes it for. PollFd is a transparent
    // pollfd, and there are that many.
    let ready = unsafe {
        #[cfg(target_env = "gnu")]
        libc::malloc_trim(0);
        libc::dl_iterate_phdr(Some(find_clean_segments), (&raw mut segments).cast());
        for (start, length) in &segments.ranges[..segments.count] {
            // A private file mapping without write permission has no content of its
            // own; the next access reads the same bytes from the file.
            libc::madvise(*start as *mut libc::c_void, *length, libc::MADV_DONTNEED);
        }
        libc::poll(fds.as_mut_ptr().cast(), fds.len() as libc::nfds_t, patience)
    };
    Errno::result(ready)
}

/// Start and length of memory in whole pages.
struct Segments {
    count: usize,
    ranges: [(usize, usize); 16],
}

/// Finds every segment of the program that can never have been written to.
unsafe extern "C" fn find_clean_segments(
    object: *mut libc::dl_phdr_info,
    _: libc::size_t,
    segments: *mut libc::c_void,
) -> libc::c_int {
    const PAGE: usize = 4096;
    // SAFETY: dl_iterate_phdr hands over a valid object with that many headers, and
    // what the caller gave it.
    let (object, headers, segments) = unsafe {
        let object = &*object;
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into());
        (object, headers, &mut *segments.cast::<Segments>())
    };
    let clean = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
    };
    for header in headers.iter().filter(clean) {
        // Some kernels' own object stands below the address that it was linked for.
        let start = object.dlpi_addr.wrapping_add(header.p_vaddr) as usize;
        let end = start + header.p_filesz as usize;
        let (first, last) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
        if first < last && segments.count < segments.ranges.len() {
            segments.ranges[segments.count] = (first, last - first);
            segments.count += 1;
        }
    }
    0
}

/// An extended attribute of an open file: fgetxattr(2). `None` if it has none.
pub(crate) fn get_xattr(file: BorrowedFd, name: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0u8; 4096];
    // SAFETY: the name is a C string; the buffer is as long as said.
    let length = unsafe {
        libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    match Errno::result(length) {
        Ok(length) => {
            value.truncate(length as usize);
            Ok(Some(value))
        }
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets one: fsetxattr(2).
pub(crate) fn set_xattr(file: BorrowedFd, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the name is a C string; the value is as long as said.
    let done = unsafe {
        libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    Errno::result(done).map(drop)
}
