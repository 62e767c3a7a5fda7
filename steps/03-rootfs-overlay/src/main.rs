use namespaces::{Container, Namespaces, Process};
use rootfs::{Rootfs, Scratch};
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut layers = vec![];
    let mut prog = vec![];
    let mut ro = false;
    let mut mounts = vec![];
    let mut it = args.into_iter();
    while let Some(a) = it.next() {
        match a.as_str() {
            "--rootfs" => layers.push(it.next().unwrap().into()),
            "--explain" => namespaces::explain::print_live(),
            "--read-only" => ro = true,
            "-v" => {
                let s = it.next().unwrap();
                let (a, b) = s.split_once(':').unwrap();
                mounts.push(rootfs::Mount { copy_up: true, ..rootfs::Mount::bind(a, b) });
            }
            _ => {
                prog.push(a);
                prog.extend(it.by_ref());
            }
        }
    }
    let scratch = Scratch::below(&std::env::temp_dir());
    let mut r = Rootfs::new(layers, Some(scratch.upper()), scratch.target());
    r.read_only = ro;
    r.volatile = true;
    for m in mounts {
        r.add_mount(m)
    }
    let c = Container::new(Process::new(prog))
        .with(scratch)
        .with(Namespaces::container())
        .with(r)
        .guarded();
    match c.start().and_then(|mut r| {
        let e = r.wait()?;
        r.teardown()?;
        Ok(e)
    }) {
        Ok(e) => std::process::exit(e.code().into()),
        Err(e) => {
            eprintln!("rootfs: {e}");
            std::process::exit(e.exit_code.into())
        }
    }
}
