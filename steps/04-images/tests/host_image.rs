//! The image `host`, and the search for what programs link to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use images::elf::{Cache, Closure, Loader};
use images::{Image, Store, host};
use testkit::Needs;

/// Set for this program when it is started again, as an ordinary user: make the image
/// in a store there.
const BUILD_HERE: &str = "HOST_IMAGE_BUILD";

fn main() {
    if let Some(root) = std::env::var_os(BUILD_HERE) {
        println!("{}", host::build(&Store::open(Path::new(&root)).unwrap()).unwrap().id);
        return;
    }
    let gcc = [Needs::Program("gcc")];
    let root = [Needs::Root, Needs::Program("unshare")];
    testkit::main(vec![
        testkit::test("libraries_are_those_that_the_loader_maps", &[], as_the_loader),
        testkit::test("an_rpath_is_inherited_and_a_runpath_is_not", &gcc, inherited),
        testkit::test("a_runpath_puts_the_rpath_out_of_force", &gcc, runpath_wins),
        testkit::test("origin_is_the_folder_of_the_file_that_names_it", &gcc, origin),
        testkit::test("a_library_is_loaded_once_by_its_soname", &gcc, soname),
        testkit::test("a_library_for_another_processor_is_passed_over", &gcc, foreign),
        testkit::test("a_static_program_needs_nothing", &gcc, alone),
        testkit::test("what_is_no_elf_file_has_no_closure", &[], no_elf),
        testkit::test("the_hosts_programs_run_in_their_image", &root, programs_run),
        testkit::test("the_same_host_makes_the_same_image", &[], same_image),
        testkit::test("an_ordinary_user_makes_the_image", &[Needs::User], made_by_a_user),
        testkit::test("the_image_is_made_when_it_is_asked_for", &[], made_on_demand),
        testkit::test("other_tools_read_the_image", &[Needs::Program("skopeo")], read_by_others),
    ])
}

fn closure(program: &Path) -> Closure {
    Loader::of_host().closure(program).unwrap().unwrap()
}

/// What the loader itself says. It runs nothing of the program, but it is the program
/// that chooses the loader: for the host's own only.
fn loaded(program: &Path, interpreter: &Path) -> BTreeSet<PathBuf> {
    let mut command = Command::new(interpreter);
    let output = command.arg("--list").arg(program).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}: {lines}", program.display());
    // `libc.so.6 => /lib/libc.so.6 (0x…)`; the loader and the vdso have no arrow.
    let paths = lines.lines().filter_map(|line| line.split_once(" => "));
    paths.map(|(_, path)| path.split(" (").next().unwrap().into()).collect()
}

fn as_the_loader() {
    let mut loader = Loader::of_host();
    let mut compared = 0;
    for folder in ["/usr/bin", "/usr/sbin", "/bin"] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Where the kernel would say that it is: the loader cannot know when asked so.
            let Ok(path) = fs::canonicalize(entry.path()) else { continue };
            let Ok(Some(found)) = loader.closure(&path) else { continue };
            let Some(interpreter) = &found.interpreter else { continue };
            // musl's loader lists in other words.
            if !interpreter.to_string_lossy().contains("ld-linux") || !found.missing.is_empty() {
                continue;
            }
            let listed = loaded(&path, interpreter);
            let same = |paths: &mut dyn Iterator<Item = &PathBuf>| -> BTreeSet<PathBuf> {
                let real = paths.filter_map(|path| fs::canonicalize(path).ok());
                real.filter(|path| *path != fs::canonicalize(interpreter).unwrap()).collect()
            };
            let ours = same(&mut found.libraries.iter());
            assert_eq!(ours, same(&mut listed.iter()), "{}", path.display());
            compared += 1;
            if compared == 400 {
                return;
            }
        }
    }
    assert!(compared > 20, "only {compared} programs to compare");
}

/// A folder to compile in.
struct Workshop(tempfile::TempDir);

impl Workshop {
    fn open() -> Self {
        Self(testkit::temp_dir())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes the library `name` (`a/libx.so`), which links to `needs`.
    fn library(&self, name: &str, needs: &[&str], flags: &str) -> PathBuf {
        let soname = Path::new(name).file_name().unwrap().to_str().unwrap();
        let flags = format!("-shared -fPIC -Wl,-e,0 -Wl,-soname,{soname} {flags}");
        self.compile(name, "int f(void) { return 0; }", needs, &flags)
    }

    fn program(&self, name: &str, needs: &[&str], flags: &str) -> PathBuf {
        self.compile(name, "int main(void) { return 0; }", needs, &format!("-Wl,-e,main {flags}"))
    }

    fn compile(&self, name: &str, source: &str, needs: &[&str], flags: &str) -> PathBuf {
        let target = self.path(name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(self.path("source.c"), source).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.current_dir(self.0.path()).args(["source.c", "-nostartfiles", "-o"]).arg(&target);
        gcc.args(["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined"]);
        // Not the linker's business where libraries will be.
        gcc.arg("-Wl,--unresolved-symbols=ignore-all").args(needs).args(flags.split_whitespace());
        assert!(gcc.status().unwrap().success());
        target
    }

    /// The libraries of a program that are in this folder, and what is missing.
    fn needs(&self, program: &Path) -> (Vec<String>, Vec<String>) {
        let found = Loader::new(Cache::of_host()).closure(program).unwrap().unwrap();
        let own = found.libraries.iter().filter_map(|path| {
            let path = fs::canonicalize(path).unwrap();
            let path = path.strip_prefix(fs::canonicalize(self.0.path()).unwrap()).ok()?;
            Some(path.to_str().unwrap().to_owned())
        });
        (own.collect(), found.missing)
    }
}

/// Both kinds of a path, as the linker is told.
fn rpath(path: &Path) -> String {
    format!("-Wl,--disable-new-dtags,-rpath,{}", path.display())
}

fn runpath(path: &Path) -> String {
    format!("-Wl,--enable-new-dtags,-rpath,{}", path.display())
}

fn inherited() {
    let shop = Workshop::open();
    shop.library("lib/libinner.so", &[], "");
    shop.library("lib/libouter.so", &["lib/libinner.so"], "");
    let lib = shop.path("lib");
    let with_rpath = shop.program("rpath", &["lib/libouter.so"], &rpath(&lib));
    let (libraries, missing) = shop.needs(&with_rpath);
    assert_eq!(libraries, ["lib/libouter.so", "lib/libinner.so"]);
    assert!(missing.is_empty());
    let with_runpath = shop.program("runpath", &["lib/libouter.so"], &runpath(&lib));
    let (libraries, missing) = shop.needs(&with_runpath);
    assert_eq!(libraries, ["lib/libouter.so"]);
    assert_eq!(missing, ["libinner.so"]);
}

fn runpath_wins() {
    let shop = Workshop::open();
    shop.library("inner/libinner.so", &[], "");
    // A RUNPATH of its own that leads nowhere: the program's RPATH is not asked.
    let nowhere = runpath(&shop.path("nowhere"));
    shop.library("outer/libouter.so", &["inner/libinner.so"], &nowhere);
    let both = format!("{}:{}", shop.path("inner").display(), shop.path("outer").display());
    let program = shop.program("program", &["outer/libouter.so"], &rpath(Path::new(&both)));
    let (libraries, missing) = shop.needs(&program);
    assert_eq!(libraries, ["outer/libouter.so"]);
    assert_eq!(missing, ["libinner.so"]);
}

fn origin() {
    let shop = Workshop::open();
    shop.library("lib/deep/libinner.so", &[], "");
    shop.library("lib/libouter.so", &["lib/deep/libinner.so"], "-Wl,-rpath,${ORIGIN}/deep");
    let program = shop.program("bin/program", &["lib/libouter.so"], "-Wl,-rpath,$ORIGIN/../lib");
    // The program's ORIGIN is where it really is.
    let link = shop.path("link");
    std::os::unix::fs::symlink(&program, &link).unwrap();
    for program in [program, link] {
        let (libraries, missing) = shop.needs(&program);
        assert_eq!(libraries, ["lib/libouter.so", "lib/deep/libinner.so"]);
        assert!(missing.is_empty());
    }
}

fn soname() {
    let shop = Workshop::open();
    shop.library("one/libsame.so", &[], "");
    shop.library("two/libsame.so", &[], "");
    let two = runpath(&shop.path("two"));
    shop.library("one/libouter.so", &["two/libsame.so"], &two);
    let one = runpath(&shop.path("one"));
    let program = shop.program("program", &["one/libouter.so", "one/libsame.so"], &one);
    let (libraries, _) = shop.needs(&program);
    assert_eq!(libraries, ["one/libouter.so", "one/libsame.so"]);
}

fn foreign() {
    let shop = Workshop::open();
    let bad = shop.library("bad/libx.so", &[], "");
    let mut bytes = fs::read(&bad).unwrap();
    bytes[18] ^= 0xff;
    fs::write(&bad, bytes).unwrap();
    shop.library("good/libx.so", &[], "");
    let path = format!("{}:{}", shop.path("bad").display(), shop.path("good").display());
    let program = shop.program("program", &["good/libx.so"], &runpath(Path::new(&path)));
    assert_eq!(shop.needs(&program).0, ["good/libx.so"]);
}

fn alone() {
    let shop = Workshop::open();
    let program = shop.program("program", &[], "-static -nostdlib");
    assert_eq!(closure(&program), Closure::default());
}

fn no_elf() {
    let shop = Workshop::open();
    for (name, bytes) in [
        ("script", &b"#!/bin/sh\n"[..]),
        ("empty", b""),
        ("short", b"\x7fELF"),
        ("cut", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01"),
    ] {
        fs::write(shop.path(name), bytes).unwrap();
        assert_eq!(Loader::of_host().closure(&shop.path(name)).unwrap(), None, "{name}");
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let temp = testkit::temp_dir();
    let store = Store::open(temp.path()).unwrap();
    (temp, store)
}

fn programs_run() {
    let (_temp, store) = store();
    let image = host::build(&store).unwrap();
    let root = store.layers(&image).unwrap().remove(0);
    let run = |line: &str| {
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--pid", "--fork", "--mount-proc", "--root"]);
        // As a container is started: with the image's environment and nothing else.
        let variables = image.config.config.env.iter().filter_map(|line| line.split_once('='));
        inside.arg(&root).args(["sh", "-c", line]).env_clear().envs(variables);
        let output = inside.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {told}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run("id -un; id -gn; pwd"), "root\nroot\n/\n");
    assert_eq!(run("stat -c '%a %U' /tmp /root /bin/ls"), "1777 root\n700 root\n755 root\n");
    assert_eq!(run("printf 'b\na\n' | sort | sed s/a/c/ | grep c | awk '{print $1 1}'"), "c1\n");
    assert_eq!(run("find /tmp -type d | xargs ls -d"), "/tmp\n");
    assert_eq!(run("ls /sys /dev | wc -w"), "2\n");
    // What starts and says its version has all of its libraries.
    for program in ["ps", "top", "ip", "ping", "mount", "bash", "less", "hostname", "tar"] {
        if !run(&format!("command -v {program} || true")).is_empty() {
            run(&format!("{program} -V || {program} --version"));
        }
    }
    let links = "cd /; for link in lib lib64 bin sbin; do readlink $link; done; true";
    let host = Command::new("sh").args(["-c", links]).output().unwrap();
    assert_eq!(run(links), String::from_utf8(host.stdout).unwrap());
}

fn same_image() {
    let ((_one, first), (_two, second)) = (store(), store());
    assert_eq!(host::build(&first).unwrap(), host::build(&second).unwrap());
}

fn made_by_a_user() {
    let user = testkit::user().unwrap();
    let this = testkit::reachable(std::env::current_exe().unwrap());
    let output = user.command(this).env(BUILD_HERE, user.home()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.starts_with(b"sha256:"));
}

fn made_on_demand() {
    let (_temp, store) = store();
    assert!(host::resolve(&store, "other").unwrap_err().to_string().contains("no such image"));
    let image = host::resolve(&store, "host").unwrap();
    let again: Vec<Image> = ["host:latest", "docker.io/library/host", &image.id.to_string()]
        .into_iter()
        .map(|name| host::resolve(&store, name).unwrap())
        .collect();
    assert!(again.iter().all(|other| *other == image));
    assert_eq!(image.config.config.cmd.unwrap(), ["sh"]);
    assert!(image.config.config.env[0].starts_with("PATH=/usr/local/sbin:"));
}

fn read_by_others() {
    let (temp, store) = store();
    host::build(&store).unwrap();
    let layout =
        format!("oci:{}:docker.io/library/host:latest", temp.path().join("images").display());
    let output = Command::new("skopeo").args(["inspect", &layout]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"Os\": \"linux\""));
}
