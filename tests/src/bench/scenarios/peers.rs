//! Payloads A, B and C, and a program in JavaScript, beside what other tools make of them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::Start;
use crate::bench::args::{Payload, Phase};
use crate::bench::case::Case;
use crate::bench::compile::GREETING;
use crate::bench::peers::{PEERS, Peer};
use crate::bench::report;
use crate::bench::session::Session;
use crate::bench::size::Size;
use crate::bench::spawn::Program;
use crate::bench::tools::{self, Stub};

/// What payload J is.
pub(in crate::bench) const HELLO_JS: &str = "console.log('hello')\n";

/// Marks tools that put together a program of their own, with its arguments inside.
const INSIDE: char = '*';

/// What every tool packs.
pub(super) struct Packed<'a> {
    pub(super) payload: Payload,
    /// The bare program, and what it is started with.
    pub(super) bare: &'a Path,
    pub(super) start: Start<'a>,
    /// The tree or the large file.
    pub(super) content: Option<&'a Path>,
    pub(super) packages: &'a [(Stub, PathBuf)],
}

/// Payload J: a program in JavaScript, with the `node` of this machine.
pub(super) fn javascript(session: &mut Session) -> anyhow::Result<()> {
    let node = match tools::find("node") {
        Ok(node) => node.canonicalize()?,
        Err(missing) => {
            session.note(format!("J was not measured: {missing}"));
            return Ok(());
        }
    };
    let directory = session.place.empty("javascript")?;
    let script = directory.join("hello.js");
    fs::write(&script, HELLO_JS)?;
    let manifest = session.manifest("j", "'{slot:node}', '{slot:app}'", &[("node", &node), ("app", &script)])?;
    let packages = session.packages("j", &manifest)?;
    let path = script.display().to_string();
    let start = Start { args: &[&path], says: GREETING };
    beside(session, &Packed { payload: Payload::J, bare: &node, start, content: None, packages: &packages })
}

/// Measures all tools that are there in rounds of their own, with the bare program and the package.
pub(super) fn beside(session: &mut Session, packed: &Packed<'_>) -> anyhow::Result<()> {
    if !session.args.peers {
        return Ok(());
    }
    let mut ready = Vec::new();
    for peer in PEERS.iter().filter(|peer| peer.payloads.contains(&packed.payload)) {
        match prepared(session, peer, packed) {
            Ok(words) => ready.push((peer.name, words)),
            Err(error) => {
                let told: String = format!("{error:#}").replace('\n', " ").chars().take(400).collect();
                session.note(format!("{}, payload {}: {told}", peer.name, packed.payload));
            }
        }
    }
    if ready.iter().any(|(name, _)| name.ends_with(INSIDE)) {
        session.note(format!("{INSIDE} packs the modules that the program imports, not the files of payload B"));
    }
    sizes(session, packed, &ready)?;
    let payload = packed.payload;
    let (warm, cold) = match payload {
        Payload::A => (40, 20),
        Payload::C => (5, 5),
        _ => (12, 7),
    };
    for (phase, topic, rounds) in [(Phase::Warm, "warm", warm), (Phase::Cold, "cold", cold)] {
        if !session.args.wants(phase) {
            continue;
        }
        let mut cases = vec![session.bare(packed.bare, packed.start)];
        let own = Start { args: if payload == Payload::J { &[] } else { packed.start.args }, ..packed.start };
        for (stub, package) in packed.packages {
            cases.push(match phase {
                Phase::Warm => session.warm(stub, package, own),
                _ => session.cold(stub, package, own),
            });
        }
        for (name, words) in &ready {
            cases.push(case(session, name, words, packed, phase));
        }
        let group = session.measure(&format!("{payload} {topic}, peers"), rounds, cases)?;
        session.keep(group)?;
    }
    Ok(())
}

/// Packs with a tool, and starts what it made once: one that does not run here disturbs no measurement.
fn prepared(session: &mut Session, peer: &Peer, packed: &Packed<'_>) -> anyhow::Result<Vec<OsString>> {
    let words = peer.pack(session, packed.payload, packed.content)?;
    session.place.discard(&state(session, peer.name, packed, Phase::Warm))?;
    let trial = case(session, peer.name, &words, packed, Phase::Cold);
    session.prepare(trial)?;
    Ok(words)
}

/// A start of what a tool made. All that it keeps is in a directory of its own, which a first start finds empty.
fn case(session: &Session, name: &str, words: &[OsString], packed: &Packed<'_>, phase: Phase) -> Case {
    let state = state(session, name, packed, phase);
    let temporary = state.join("tmp");
    let own = [
        ("HOME", state.clone()),
        ("TMPDIR", temporary.clone()),
        ("XDG_CACHE_HOME", state.join("xdg")),
        ("FLAVOR_CACHE_DIR", state.join("flavor")),
        ("SHIV_ROOT", state.join("shiv")),
        // Its launchers tell a great deal otherwise, which takes time.
        ("FLAVOR_LOG_LEVEL", "error".into()),
    ];
    let names = own.each_ref().map(|(name, _)| OsString::from(name));
    let env = session.env(&state).into_iter().filter(|(name, _)| !names.contains(name));
    let env = env.chain(own.into_iter().map(|(name, value)| (name.into(), value.into_os_string())));
    // These programs have their arguments inside.
    let inside = packed.payload == Payload::J || name.ends_with(INSIDE);
    let args = if inside { &[] } else { packed.start.args };
    let words = words.iter().cloned().chain(args.iter().map(OsString::from));
    let case = Case::new(name, Program::new(words, env)).saying(packed.start.says);
    let case = if phase == Phase::Cold { case.leaving(state) } else { case };
    case.before(move |_| Ok(fs::create_dir_all(&temporary)?))
}

/// The directory where what a tool made keeps whatever it keeps.
fn state(session: &Session, name: &str, packed: &Packed<'_>, phase: Phase) -> PathBuf {
    let warm: String = format!("{name}-{}", packed.payload).chars().filter(char::is_ascii_alphanumeric).collect();
    session.place.path(if phase == Phase::Warm { &warm } else { "cold" })
}

/// How large the files are.
fn sizes(session: &mut Session, packed: &Packed<'_>, ready: &[(&str, Vec<OsString>)]) -> anyhow::Result<()> {
    let own = packed.packages.iter().map(|(stub, package)| (stub.name.as_str(), package.clone()));
    // Where an interpreter comes first, the file is the last word that names one.
    let file = |words: &Vec<OsString>| words.iter().rev().map(PathBuf::from).find(|path| path.is_file());
    let others = ready.iter().filter_map(|(name, words)| Some((*name, file(words)?)));
    let mut sizes = Vec::new();
    for (name, file) in own.chain(others) {
        let bytes = fs::metadata(&file)?.len();
        let name = format!("{name}, payload {}", packed.payload);
        sizes.push(Size { name, command: file.display().to_string(), bytes, seconds: None });
    }
    report::sizes(&sizes)?;
    session.sizes.extend(sizes);
    Ok(())
}
