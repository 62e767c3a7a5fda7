//! Names of one's own for others.

use std::time::Duration;

use testkit::wait_until;

use crate::world::World;

pub fn a_link_is_a_name_that_nobody_else_knows() {
    let world = World::new();
    world.tell(&["network", "create", "sea"]);
    world.sleeper("db", &["--network", "sea", "--network-alias", "box"]);
    world.sleeper("web", &["--network", "sea", "--link", "db:store", "--link", "db:chest"]);
    let address = world.address("db", "sea");
    let known = |who: &str| world.names(who, &["udp:store:A", "udp:chest:A", "udp:db:A"]);
    assert!(known("web").iter().all(|answer| answer.contains(&address)), "{:?}", known("web"));
    let others = known("db").iter().filter(|answer| answer.contains(&address)).count();
    assert_eq!(others, 1, "{:?}", known("db"));
    // A place that it is given while it runs may come with one, too.
    world.tell(&["network", "create", "bay"]);
    world.sleeper("late", &["--network", "bay"]);
    world.tell(&["network", "connect", "--link", "db:store", "sea", "late"]);
    assert!(world.names("late", &["udp:store:A"])[0].contains(&address));
    world.tell(&["rm", "-f", "late"]);
    world.tell(&["network", "rm", "bay"]);
    // Where nobody has a name it is a line of a file, as long as the other runs.
    world.sleeper("old", &[]);
    world.sleeper("new", &["--link", "old:elder"]);
    let line = format!("{}\telder\n", world.address("old", "bridge"));
    assert!(world.tell(&["exec", "new", "cat", "/etc/hosts"]).contains(&line), "{line}");
    world.tell(&["rm", "-f", "new", "old", "web", "db"]);
    world.tell(&["create", "--name", "idle", "host", "true"]);
    world.tell(&["create", "--name", "lost", "--link", "idle:other", "host", "true"]);
    let refused = world.refuse(&["start", "lost"]);
    assert!(refused.contains("Cannot link to a non running container: /idle"), "{refused}");
    world.tell(&["rm", "idle", "lost"]);
    world.tell(&["network", "rm", "sea"]);
}

pub fn a_link_leads_to_where_the_other_is_after_every_restart() {
    let world = World::new();
    world.sleeper("old", &[]);
    // It ends when it is told, and its shim starts it again.
    let flags = ["-d", "--name", "new", "--link", "old:elder", "--restart", "always"];
    let until_told = "until test -e /end; do sleep 0.05; done; rm /end";
    world.engine.run(&[&flags[..], &["host", "sh", "-c", until_told]].concat());
    let line = || format!("{}\telder\n", world.address("old", "bridge"));
    let has_line = || world.tell(&["exec", "new", "cat", "/etc/hosts"]).contains(&line());
    assert!(has_line());
    let before = line();
    world.tell(&["restart", "-t", "0", "old"]);
    assert_ne!(before, line(), "it has another address now");
    world.tell(&["exec", "new", "touch", "/end"]);
    let restarted =
        || world.tell(&["inspect", "-f", "{{.RestartCount}} {{.State.Running}}", "new"]);
    assert!(wait_until(Duration::from_secs(10), || restarted() == "1 true"), "{}", restarted());
    assert!(has_line(), "{}", world.tell(&["exec", "new", "cat", "/etc/hosts"]));
    world.tell(&["rm", "-f", "new", "old"]);
}
