//! Every console of the book and of the READMEs, run and compared.
//!
//! The consoles of a page are one session for each prompt, `$` an ordinary user's and `#`
//! root's: a variable, a folder, a container lives on to the end of the page. Words after
//! `console` say more:
//!
//! ```text
//!   fails          a command of this block ends with an error
//!   numbers        numbers differ from run to run
//!   unordered      so does the order of the lines
//!   terminal       the first line gets a terminal; lines that begin with `# ` are typed there
//!   needs=A,B      overlay, network, registry, cgroup2, or a program
//!   not-run=WHY    not run
//! ```
//!
//! `SNAPSHOTS=overwrite cargo test -p book --test consoles` writes what came into the pages.

mod compare;
mod console;
mod programs;
mod registry;
mod sandbox;
mod session;

use book::pages::{self, Page};
use console::{Console, Prompt};
use libtest_mimic::Trial;
use testkit::Needs;

fn main() {
    let mut all = pages::book().unwrap_or_else(|error| panic!("{error:#}"));
    all.extend(pages::readmes().unwrap_or_else(|error| panic!("{error:#}")));
    let mut tests = Vec::new();
    let mut texts = vec![page_text_is_sound(&all)];
    for page in all {
        for prompt in [Prompt::User, Prompt::Root] {
            tests.extend(test_of(&page, prompt));
        }
    }
    texts.append(&mut tests);
    testkit::main(texts)
}

fn page_text_is_sound(pages: &[Page]) -> Trial {
    let pages = pages.to_vec();
    testkit::test("consoles_are_well_formed", &[], move || {
        let complaints: Vec<_> = pages.iter().flat_map(console::complaints).collect();
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    })
}

/// All consoles of a page with one prompt; none if there are none.
fn test_of(page: &Page, prompt: Prompt) -> Option<Trial> {
    let consoles: Vec<_> = Console::all(page).into_iter().filter(|c| c.prompt == prompt).collect();
    let run: Vec<_> = consoles.into_iter().filter(|console| console.skipped.is_none()).collect();
    if run.is_empty() {
        return None;
    }
    let mut needs = vec![match prompt {
        Prompt::Root => Needs::Root,
        Prompt::User => Needs::User,
    }];
    if run.iter().any(|console| console.terminal) {
        needs.push(Needs::Program("script"));
    }
    if prompt == Prompt::User {
        needs.push(Needs::UserNamespaces);
    }
    for need in run.iter().flat_map(|console| &console.needs) {
        match need.as_str() {
            "overlay" => needs.push(Needs::Overlay),
            "network" => needs.push(Needs::Network),
            "cgroup2" => needs.push(Needs::CgroupV2),
            "registry" => needs.extend(registry::NEEDS),
            program => needs.push(Needs::Program(program.to_owned().leak())),
        }
    }
    let page = page.clone();
    let name = format!("{} {}", page.name, prompt.sign());
    Some(testkit::test(&name, &needs, move || session::check(&page, prompt, &run)))
}
