//! Change the root with pivot_root, not with chroot.
//!
//! The container has a root of its own: a tmpfs with your /usr in it. It is mounted on a
//! folder, and you make it `/`. After that comes somebody who knows how to walk out of a
//! chroot, and tries. The man pages are pivot_root(2), with its note on `pivot_root(".", ".")`,
//! and umount2(2).
//!
//! Minutes: 30
//! Needs: namespaces
//! Observe: namespaces mnt

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use namespaces::cli::exit_with;
use namespaces::{CloneArgs, Container, Context, IdMaps, Mechanism, Namespaces, Process};
use namespaces::{Result, userns};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chroot, mkdir, pivot_root};

/// Makes the mounted folder `root` the root of this mount namespace, and lets go of the old.
fn change_root(root: &Path) -> Result<()> {
    todo!("swap the roots, and detach the old one")
}

/// A root in memory, with the programs of the host.
struct NewRoot(PathBuf);

impl Mechanism for NewRoot {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags |= libc::CLONE_NEWNS as u64;
        Ok(())
    }

    fn in_child(&self) -> Result<()> {
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).doing(|| "make the mounts private")?;
        let root = &self.0;
        mount(none, root, Some("tmpfs"), MsFlags::empty(), none).doing(|| "mount a tmpfs")?;
        let usr = root.join("usr");
        fs::create_dir(&usr).doing(|| "mkdir usr")?;
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some("/usr"), &usr, none, bind, none).doing(|| "bind /usr")?;
        for name in ["bin", "lib", "lib64", "sbin"] {
            symlink(Path::new("usr").join(name), root.join(name)).doing(|| "make a link")?;
        }
        change_root(root)
    }
}

/// Somebody who is root in a jail and wants out.
struct Prisoner;

impl Mechanism for Prisoner {
    fn in_child(&self) -> Result<()> {
        let look = |when: &str| match Path::new("/etc").exists() {
            true => println!("{when}: I see the host"),
            false => println!("{when}: I am inside"),
        };
        look("at first");
        // chroot moves the root and not the working directory, which is outside then.
        mkdir("/hole", nix::sys::stat::Mode::S_IRWXU).doing(|| "dig a hole")?;
        chroot("/hole").doing(|| "chroot")?;
        (0..64).try_for_each(|_| chdir("..")).doing(|| "walk up")?;
        chroot(".").doing(|| "chroot")?;
        look("after the attempt");
        Ok(())
    }
}

fn main() {
    exit_with(run())
}

fn run() -> Result<u8> {
    let folder = std::env::current_dir().doing(|| "find the current directory")?.join("root");
    fs::create_dir_all(&folder).doing(|| "mkdir root")?;
    let mut namespaces = Namespaces::none();
    if userns::needed() {
        namespaces = namespaces.user(IdMaps::standard());
    }
    let process = Process::new(["sh", "-c", "echo ready; read _ || true"]);
    let container = Container::new(process).with(namespaces).with(NewRoot(folder)).with(Prisoner);
    Ok(container.start()?.wait()?.code())
}
