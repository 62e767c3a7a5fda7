//! The timetables for half a day, a day and two days, from the minutes of the exercises.

use workshop::{Exercise, Lesson};

use super::{Generated, note};

/// Minutes of a lesson's beginning: the idea, the code, one console together.
const TALK: u32 = 20;
const BREAK: u32 = 15;
const LUNCH: u32 = 60;
/// So long people work before they need a break.
const STRETCH: u32 = 90;
const MORNING: u32 = 9 * 60;
const NOON: u32 = 12 * 60;

/// A kind of workshop.
struct Length {
    title: &'static str,
    /// How many lessons it has time for.
    lessons: usize,
    /// The end of each day, in minutes since midnight.
    ends: &'static [u32],
}

const LENGTHS: [Length; 3] = [
    Length { title: "Half a day", lessons: 3, ends: &[13 * 60] },
    Length { title: "A day", lessons: 6, ends: &[17 * 60 + 30] },
    Length { title: "Two days", lessons: 6, ends: &[17 * 60, 17 * 60] },
];

pub(crate) fn page(lessons: &[Lesson]) -> Generated {
    let mut text = format!("# Timetables\n\n{}", note("the minutes in the exercises"));
    text += &format!(
        "\nEach lesson begins with {TALK} minutes in which you draw the idea, walk through the code and \
         run one\nconsole together; then people work. What does not fit is left for the evening, and \
         is listed.\n"
    );
    text += &in_numbers(lessons);
    for length in LENGTHS {
        text += &timetable(&length, lessons);
    }
    Generated::new("workshop/agenda.md", text)
}

/// How long a lesson's exercises take in all.
fn in_numbers(lessons: &[Lesson]) -> String {
    let mut text = String::from("\n| lesson | exercises | minutes |\n|---|--:|--:|\n");
    for lesson in lessons {
        let minutes: u32 = lesson.exercises.iter().map(|exercise| exercise.minutes).sum();
        let (number, name, count) = (lesson.number, &lesson.name, lesson.exercises.len());
        text += &format!("| {number}, {name} | {count} | {minutes} |\n");
    }
    text
}

/// What happens, and for how long.
enum Item<'a> {
    Talk(&'a Lesson),
    Exercise(&'a Exercise),
}

impl Item<'_> {
    fn minutes(&self) -> u32 {
        match self {
            Item::Talk(_) => TALK,
            Item::Exercise(exercise) => exercise.minutes,
        }
    }

    fn title(&self) -> String {
        match self {
            Item::Talk(lesson) => format!("**Lesson {}, {}**", lesson.number, lesson.name),
            Item::Exercise(exercise) => format!("`{}`: {}", exercise.name, exercise.title),
        }
    }
}

fn timetable(length: &Length, lessons: &[Lesson]) -> String {
    let lessons = &lessons[..lessons.len().min(length.lessons)];
    let mut left: Vec<&Exercise> = Vec::new();
    let mut text = format!("\n## {}\n", length.title);
    let days = length.ends.len();
    let per_day = lessons.len().div_ceil(days).max(1);
    for (day, (lessons, end)) in lessons.chunks(per_day).zip(length.ends).enumerate() {
        if days > 1 {
            text += &format!("\n### Day {}\n", day + 1);
        }
        let items = chosen(lessons, working_minutes(*end), &mut left);
        text += "\n| from | to | what |\n|---|---|---|\n";
        for (from, to, what) in laid_out(&items, *end) {
            text += &format!("| {} | {} | {what} |\n", clock(from), clock(to));
        }
    }
    if !left.is_empty() {
        let minutes: u32 = left.iter().map(|exercise| exercise.minutes).sum();
        let names: Vec<_> = left.iter().map(|exercise| format!("`{}`", exercise.name)).collect();
        text += &format!("\nFor the evening, {minutes} minutes: {}.\n", names.join(", "));
    }
    text
}

/// The minutes of a day in which people work.
fn working_minutes(end: u32) -> u32 {
    let lunch = if end > NOON + 2 * LUNCH { LUNCH } else { 0 };
    let minutes = end - MORNING - lunch;
    minutes - minutes / (STRETCH + BREAK) * BREAK
}

/// All talks, and of the exercises as many as fit: round by round, each lesson's next one.
fn chosen<'a>(lessons: &'a [Lesson], minutes: u32, left: &mut Vec<&'a Exercise>) -> Vec<Item<'a>> {
    let mut free = minutes.saturating_sub(TALK * lessons.len() as u32);
    let most = lessons.iter().map(|lesson| lesson.exercises.len()).max().unwrap_or(0);
    let mut fits = Vec::new();
    for round in 0..most {
        for exercise in lessons.iter().filter_map(|lesson| lesson.exercises.get(round)) {
            if exercise.minutes <= free {
                free -= exercise.minutes;
                fits.push(&exercise.name);
            }
        }
    }
    let mut items = Vec::new();
    for lesson in lessons {
        items.push(Item::Talk(lesson));
        for exercise in &lesson.exercises {
            match fits.contains(&&exercise.name) {
                true => items.push(Item::Exercise(exercise)),
                false => left.push(exercise),
            }
        }
    }
    items
}

/// The items with their times, and with lunch and breaks between them.
fn laid_out(items: &[Item], end: u32) -> Vec<(u32, u32, String)> {
    let mut rows = Vec::new();
    let (mut now, mut worked) = (MORNING, 0);
    let mut lunch = end > NOON + 2 * LUNCH;
    for item in items {
        let pause = match (lunch && now + item.minutes() > NOON + LUNCH, worked) {
            (true, _) => Some((LUNCH, "Lunch")),
            (false, worked) if worked + item.minutes() > STRETCH && worked > 0 => {
                Some((BREAK, "Break"))
            }
            _ => None,
        };
        if let Some((minutes, name)) = pause {
            lunch &= name != "Lunch";
            rows.push((now, now + minutes, name.to_owned()));
            (now, worked) = (now + minutes, 0);
        }
        rows.push((now, now + item.minutes(), item.title()));
        now += item.minutes();
        worked += item.minutes();
    }
    rows
}

fn clock(minutes: u32) -> String {
    format!("{}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lesson(number: u8, minutes: &[u32]) -> Lesson {
        let exercise = |(n, minutes): (usize, &u32)| Exercise::sample(number, n, *minutes);
        let exercises = minutes.iter().enumerate().map(exercise).collect();
        Lesson { number, name: format!("lesson{number}"), folder: "".into(), exercises }
    }

    #[test]
    fn every_lesson_has_its_first_exercise_before_one_has_its_second() {
        let lessons = [lesson(1, &[30, 30]), lesson(2, &[30, 30])];
        let mut left = Vec::new();
        let items = chosen(&lessons, 2 * TALK + 90, &mut left);
        let minutes: u32 = items.iter().map(Item::minutes).sum();
        assert_eq!((minutes, left.len(), left[0].lesson), (2 * TALK + 90, 1, 2));
    }

    #[test]
    fn a_day_has_lunch_and_breaks_and_ends_in_time() {
        let lessons: Vec<_> = (1..=6).map(|n| lesson(n, &[10, 20, 30, 45])).collect();
        let end = 17 * 60 + 30;
        let items = chosen(&lessons, working_minutes(end), &mut Vec::new());
        let rows = laid_out(&items, end);
        assert!(rows.iter().any(|row| row.2 == "Lunch") && rows.iter().any(|row| row.2 == "Break"));
        assert!(rows.last().is_some_and(|row| row.1 <= end + 30), "{rows:?}");
        assert!(rows.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }
}
