//! Read a file in a tree that is not trusted.
//!
//! An image is unpacked in the folder `root`, beside a file `secret` that is none of its
//! business. The image has links. Write the function that opens a file of the image for
//! the engine, as the *container* would see it: an absolute link begins at `root`, and no
//! `..` leads out of it. A check of the path is not enough: it can change after the check.
//! The man page is openat2(2).
//!
//! Minutes: 25

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

/// Opens `path` for reading, as a process would whose root is `root`.
fn open_in(root: &Path, path: &str) -> Result<File, Errno> {
    // YOURS: open the folder, then the path below it, and let the kernel keep it inside
    // SAYS: in the container an absolute link is no crime
    let folder = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    openat2(&folder, path, how).map(File::from)
    // END
}

fn main() {
    let root = Path::new("root");
    fs::create_dir_all(root.join("etc")).expect("make the image");
    fs::write("secret", "the host's secret").expect("write a file");
    fs::write(root.join("etc/motd"), "the image's greeting").expect("write a file");
    fs::write(root.join("secret"), "the image's own").expect("write a file");
    let here = std::env::current_dir().expect("the current directory");
    let links = [
        ("honest", "etc/motd".into()),
        ("absolute", "/etc/motd".into()),
        ("up", "../secret".into()),
        ("far-up", "../../../../../../../../etc/motd".into()),
        ("sly", here.join("secret")),
    ];
    for (name, target) in &links {
        symlink::<&Path, _>(target, root.join(name)).expect("make a link");
    }
    for path in ["etc/motd", "/etc/motd", "honest", "absolute", "up", "far-up", "sly", "../secret"]
    {
        let mut text = String::new();
        match open_in(root, path) {
            Ok(mut file) => {
                file.read_to_string(&mut text).expect("read a file");
                println!("{path}: {text}");
            }
            Err(errno) => println!("{path}: {}", errno.desc()),
        }
    }
}
