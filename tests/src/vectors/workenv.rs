//! Packages with a work environment (SPEC §6.8).

use super::Set;
use super::sample::{one, worded, words};
use crate::forge::{ForgedSlot, ForgedWords};

/// A slot whose target is its id.
fn slot(id: &str, lifecycle: &'static str) -> ForgedSlot {
    ForgedSlot { lifecycle, target: id.to_owned(), ..ForgedSlot::raw(id, id.as_bytes()) }
}

/// Starts `app`, with more keys of `run` and more slots.
fn package(more: &str, slots: &[ForgedSlot]) -> Vec<u8> {
    let run = format!(r#"{{"command":["{{slot:app}}"]{more}}}"#);
    let execution = r#"{"command":"'{slot:0}'","env":{}}"#.to_owned();
    worded(&ForgedWords { run, execution, ..words() }, &[one(), slots.to_vec()].concat())
}

const SETUP: &str = r#","setup":[["{slot:app}"]]"#;
const SHUTDOWN: &str = r#","shutdown":[["{slot:app}"]]"#;

pub(super) fn add(set: &mut Set) {
    good(set);
    bad(set);
}

/// What is wrong in one way.
fn bad(set: &mut Set) {
    set.section("6.2");
    set.format("setup-empty", "`setup` is there, and has no command", package(r#","setup":[]"#, &[]));
    set.format("setup-command-empty", "a setup command has no element", package(r#","setup":[[]]"#, &[]));
    set.format(
        "setup-by-path",
        "the program of a setup command would be looked up",
        package(r#","setup":[["sh"]]"#, &[]),
    );
    set.format(
        "shutdown-by-path",
        "the program of a shutdown command would be looked up",
        package(r#","shutdown":[["sh"]]"#, &[]),
    );
    set.format("setup-text", "a setup command is one text", package(r#","setup":["{slot:app}"]"#, &[]));
    set.format(
        "setup-nul",
        "an argument of a setup command holds a NUL",
        package(r#","setup":[["{slot:app}","\u0000"]]"#, &[]),
    );
    set.section("6.6");
    let named = |id: &str| format!(r#","cwd":"{{slot:{id}}}""#);
    let both = format!("{SETUP}{SHUTDOWN}");
    set.format("start-names-init", "a start names an init slot", package(&(named("a") + SETUP), &[slot("a", "init")]));
    set.format(
        "start-names-shutdown",
        "a start names a shutdown slot",
        package(&(named("a") + SHUTDOWN), &[slot("a", "shutdown")]),
    );
    for (name, what, lifecycle) in [
        ("setup-names-startup", "the setup names a startup slot", "startup"),
        ("setup-names-temporary", "the setup names a temporary slot", "temporary"),
        ("setup-names-shutdown", "the setup names a shutdown slot", "shutdown"),
    ] {
        let more = format!(r#","setup":[["{{slot:app}}","{{slot:a}}"]]{SHUTDOWN}"#);
        set.format(name, what, package(&more, &[slot("a", lifecycle)]));
    }
    let more = format!(r#"{SETUP},"shutdown":[["{{slot:app}}","{{slot:a}}"]]"#);
    set.format("end-names-init", "the end names an init slot", package(&more, &[slot("a", "init")]));
    set.section("6.8");
    set.format("init-without-setup", "an init slot without a setup", package(SHUTDOWN, &[slot("a", "init")]));
    set.format(
        "shutdown-without-command",
        "a shutdown slot without a command",
        package(SETUP, &[slot("a", "shutdown")]),
    );
    let twice = |one, two| {
        let other = ForgedSlot { target: "a".to_owned(), ..slot("b", two) };
        package(&both, &[slot("a", one), other])
    };
    set.format("workenv-same-target", "two slots in the work environment have one target", twice("config", "init"));
    set.format("own-same-target", "two slots of one start have one target", twice("temporary", "shutdown"));
}

/// What is sound.
fn good(set: &mut Set) {
    set.section("6.8");
    let all = ["init", "config", "cache", "startup", "temporary", "shutdown"].map(|word| slot(word, word));
    let more = r#","cwd":"{workenv}/x","env":{"set":{"T":"{slot:temporary}","W":"{workenv}"}},"setup":[["{slot:init}","{slot:config}","{slot:cache}"],["{workenv}/made",""]],"shutdown":[["{slot:shutdown}","{slot:startup}","{slot:temporary}"]]"#;
    let run = format!(r#"{{"command":["{{workenv}}/made"]{more}}}"#);
    let execution = r#"{"command":"'{workenv}/made'","env":{"T":"{slot:5}","W":"{workenv}"}}"#.to_owned();
    let bytes = worded(&ForgedWords { run, execution, ..words() }, &[one(), all.to_vec()].concat());
    set.ok("workenv", "a slot of every lifecycle that has a work environment, and commands", bytes);
    let same = ForgedSlot { target: "a".to_owned(), ..slot("b", "temporary") };
    set.ok(
        "workenv-places",
        "one target in the work environment and in that of a start",
        package("", &[slot("a", "config"), same]),
    );
    set.ok(
        "workenv-alone",
        "the work environment is named, and nothing is put there",
        package(r#","cwd":"{workenv}""#, &[]),
    );
}
