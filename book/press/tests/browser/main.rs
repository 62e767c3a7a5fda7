//! The pages, as a reader's browser shows them: Debian's chromium, driven by WebDriver.

mod driver;
mod pages;

use testkit::Needs;

fn main() {
    let needs = [Needs::Program("chromium"), Needs::Program("chromedriver")];
    let test = |name, act: fn()| testkit::test(name, &needs, act);
    testkit::main(vec![
        test("every_page_opens_offline_without_a_complaint", pages::open),
        test("no_link_is_dead", pages::links),
        test("the_search_finds_every_term_of_the_glossary", pages::search),
        test("drawings_are_visible_in_both_themes_and_on_a_phone", pages::drawings),
        test("a_page_is_no_wider_than_a_phone", pages::width),
        test("code_is_copied_as_it_is_typed", pages::copies),
        test("each_language_leads_to_the_other", pages::languages),
        testkit::test("lesson_1_is_wholly_translated", &[], pages::translated),
    ])
}
