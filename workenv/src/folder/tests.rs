//! What a cache holds of one package, whoever made it, left it or is at work there.

use super::*;
use crate::testing::alone;
use std::os::unix::fs::symlink;

fn id(name: &str) -> Sha256 {
    Sha256::of(name.as_bytes())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Makes a work environment of one file, or finds it.
fn made(cache: &Path, id: Sha256) -> PathBuf {
    let fill = |path: &Path, _: &Locks<'_>| fs::write(path.join("tool"), "").map_err(Error::io("writing", path));
    ready(cache, id, &Environment::default(), fill).unwrap().path
}

fn found(cache: &Path, id: Sha256) -> PathBuf {
    ready::<Error>(cache, id, &Environment::default(), |_, _| panic!("it is made anew")).unwrap().path
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A record of these lines and their digest.
fn record(lines: &[&str]) -> String {
    let body = lines.join("\n");
    format!("{body}\n{}\n", Sha256::of(body.as_bytes()))
}

fn age(path: &Path, seconds: u64) -> SystemTime {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_package_is_set_up_once_and_has_its_directory_for_itself() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let env = cache.path().join("env");
    let (one, two) = (id("one"), id("two"));
    let first = ready(cache.path(), one, &Environment::default(), |path, _| {
        // Whatever a setup does to it.
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(Error::io("opening", path))
    });
    let first = first.unwrap().path;
    assert_eq!((first.parent(), mode(&first), mode(&env)), (Some(&*env), 0o700, 0o700));
    let name = first.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&format!("{one}-")) && name.len() == 64 + 1 + 16, "{name}");
    let text = fs::read_to_string(env.join(format!("{one}.ok"))).unwrap();
    assert_eq!(text, record(&[MAGIC, name]));
    assert_eq!(found(cache.path(), one), first);
    // Nothing of one package is in the way of another.
    let second = made(cache.path(), two);
    assert_ne!(first, second);
    assert_eq!((found(cache.path(), one), found(cache.path(), two)), (first, second));
    let files = names(&env).into_iter().filter(|name| !env.join(name).is_dir()).collect::<Vec<_>>();
    let mut expected = [one, two].map(|id| [format!("{id}.lock"), format!("{id}.ok")]).concat();
    expected.sort();
    assert_eq!(files, expected);
}

#[test]
fn what_could_not_be_set_up_leaves_nothing() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let one = id("one");
    let fill = |path: &Path, _: &Locks<'_>| {
        fs::create_dir(path.join("closed")).unwrap();
        fs::write(path.join("closed/file"), "").unwrap();
        fs::set_permissions(path.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
        Err(Error::Nested)
    };
    assert!(matches!(ready(cache.path(), one, &Environment::default(), fill), Err(Error::Nested)));
    assert_eq!(names(&cache.path().join("env")), [format!("{one}.lock")]);
    // No place for it at all.
    let none = cache.path().join("none");
    let error = ready::<Error>(&none, one, &Environment::default(), |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.starts_with(&format!("creating `{}`", none.join("env").display())), "{error}");
}

#[test]
fn a_setup_starts_other_packages_but_not_its_own() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let (one, two) = (id("one"), id("two"));
    let mut caller = Environment::default();
    let place = cache.path().join("env").join(format!("{one}-x"));
    // The innermost comes first.
    let places = format!("/elsewhere:{}", place.display());
    caller.set(SETUP, &CString::new(places).unwrap());
    ready::<Error>(cache.path(), two, &caller, |_, _| Ok(())).unwrap();
    let error = ready::<Error>(cache.path(), one, &caller, |_, _| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Nested));
    // What is there already can be started.
    let path = made(cache.path(), one);
    assert_eq!(ready::<Error>(cache.path(), one, &caller, |_, _| Ok(())).unwrap().path, path);
}

#[test]
fn a_setup_is_named_before_those_around_it() {
    let place = Path::new("/env/inner");
    for (outer, expected) in [
        (None, "/env/inner"),
        (Some(c""), "/env/inner"),
        (Some(c"/env/outer:/env/first"), "/env/inner:/env/outer:/env/first"),
    ] {
        let mut caller = Environment::default();
        outer.into_iter().for_each(|outer| caller.set(SETUP, outer));
        assert_eq!(String::from_utf8(setup_value(&caller, place)).unwrap(), expected, "{outer:?}");
    }
}

#[test]
fn a_record_counts_where_it_is_whole_and_what_it_names_is_there() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let (one, two) = (id("one"), id("two"));
    let path = made(cache.path(), one);
    let other = made(cache.path(), two);
    let folder = Folder::new(cache.path(), one);
    let env = cache.path().join("env");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let (own, others) = (name(&path), name(&other));
    let committed = || folder.committed().map(|workenv| workenv.path);
    fs::create_dir(env.join(format!("{one}-x"))).unwrap();
    let around = format!("{one}-x/../{own}");
    let sound = record(&[MAGIC, &own]);
    for (text, counts) in [
        (sound.clone(), true),
        (record(&["PSPF workenv 2", &own]), false),
        (record(&[MAGIC, &others]), false),
        (record(&[MAGIC, &around]), false),
        (record(&[MAGIC, &own, ""]), false),
        (record(&[MAGIC, "durable", &own]), false),
        (record(&[MAGIC]), false),
        (record(&[MAGIC, &format!("{one}-none")]), false),
        (sound.replace(&own, &format!("{one}-x")), false),
        (sound.trim_end().to_owned(), false),
        (String::new(), false),
    ] {
        fs::write(folder.record(), &text).unwrap();
        assert_eq!(committed(), Some(path.clone()).filter(|_| counts), "{text}");
    }
    // Whoever could put something else there could have put this there.
    fs::write(folder.record(), &sound).unwrap();
    for (mode, counts) in [(0o755, true), (0o720, false), (0o702, false), (0o700, true)] {
        fs::set_permissions(&env, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(folder.make().is_ok(), counts, "{mode:o}");
    }
    // A link and a pipe are no records.
    fs::rename(folder.record(), env.join("moved")).unwrap();
    symlink(env.join("moved"), folder.record()).unwrap();
    assert_eq!(committed(), None);
    fs::remove_file(folder.record()).unwrap();
    pipe(&folder.record());
    assert_eq!(committed(), None);
    fs::remove_file(folder.record()).unwrap();
    // A link and a file are no work environments.
    fs::rename(env.join("moved"), folder.record()).unwrap();
    assert!(committed().is_some());
    fs::rename(&path, env.join("aside")).unwrap();
    symlink(env.join("aside"), &path).unwrap();
    assert_eq!(committed(), None);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    assert_eq!(committed(), None);
}

fn pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
}

#[test]
fn what_somebody_is_about_to_remove_is_not_started() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let one = id("one");
    let path = made(cache.path(), one);
    let folder = Folder::new(cache.path(), one);
    let remover = File::open(&path).unwrap();
    flock(&remover, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert!(folder.committed().is_none());
    drop(remover);
    assert_eq!(folder.committed().unwrap().path, path);
}

#[test]
fn the_mode_of_its_directory_is_the_applications_as_far_as_others_come_in() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let one = id("one");
    let path = made(cache.path(), one);
    for (given, then) in [(0o755, 0o755), (0o1750, 0o1750), (0o500, 0o700), (0o666, 0o766), (0o005, 0o705)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(given)).unwrap();
        assert_eq!(found(cache.path(), one), path, "{given:o}");
        assert_eq!(mode(&path), then, "{given:o}");
    }
}

#[test]
fn few_files_are_synced_each_and_links_and_pipes_not() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("folder/file"), "").unwrap();
    fs::write(path("file"), "").unwrap();
    symlink("none", path("link")).unwrap();
    // Whoever opened it would wait for ever.
    pipe(&path("pipe"));
    for (room, left) in [(8, Some(2)), (7, Some(1)), (6, None), (5, None), (1, None), (0, None)] {
        let mut now = room;
        let all = sync_each(place.path(), &mut now).unwrap();
        assert_eq!((all, now), (left.is_some(), left.unwrap_or_default()), "{room}");
    }
    assert!(sync_each(&path("none"), &mut 8).is_err());
}

#[test]
fn its_use_is_noted_by_the_hour() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let one = id("one");
    let path = made(cache.path(), one);
    let record = Folder::new(cache.path(), one).record();
    for (seconds, is_noted) in [(0, false), (1800, false), (7200, true)] {
        let then = age(&record, seconds);
        assert_eq!(found(cache.path(), one), path);
        assert_eq!(fs::metadata(&record).unwrap().modified().unwrap() > then, is_noted, "{seconds}");
    }
}

#[test]
fn what_the_dead_left_is_removed_and_what_is_named_or_held_is_not() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let (one, two) = (id("one"), id("two"));
    let first = made(cache.path(), one);
    let env = cache.path().join("env");
    let folder = Folder::new(cache.path(), one);
    let left = |end: &str| env.join(format!("{one}-{end}"));
    for name in ["dead", "held", "used"] {
        fs::create_dir(left(name)).unwrap();
        fs::write(left(name).join("file"), "").unwrap();
    }
    fs::write(left("record"), "half").unwrap();
    pipe(&left("pipe"));
    let foreign = env.join(format!("{two}-dead"));
    fs::create_dir(&foreign).unwrap();
    let held = File::open(left("held")).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut user = std::process::Command::new("/bin/sleep").arg("60").current_dir(left("used")).spawn().unwrap();
    folder.reclaim();
    user.kill().unwrap();
    user.wait().unwrap();
    for (path, stays) in [
        (first, true),
        (left("held").join("file"), true),
        (left("used").join("file"), true),
        (foreign, true),
        (left("dead"), false),
        (left("record"), false),
        (left("pipe"), false),
    ] {
        assert_eq!(path.exists(), stays, "{}", path.display());
    }
}

#[test]
fn a_lock_is_a_file_of_this_place() {
    let _alone = alone();
    let cache = tempfile::tempdir().unwrap();
    let folder = Folder::new(cache.path(), id("one"));
    folder.make().unwrap();
    let outside = cache.path().join("outside");
    symlink(&outside, folder.lock()).unwrap();
    assert!(folder.turn_now().is_none() && !outside.exists());
    fs::remove_file(folder.lock()).unwrap();
    let turn = folder.turn_now();
    assert!(turn.is_some() && folder.turn_now().is_none());
    drop(turn);
    assert!(folder.turn_now().is_some());
    assert_eq!(mode(&folder.lock()), 0o600);
}

#[test]
fn what_a_setup_needed_is_removed_whatever_it_is() {
    let _alone = alone();
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    fs::create_dir_all(path("tree/closed")).unwrap();
    fs::write(path("tree/closed/file"), "").unwrap();
    fs::set_permissions(path("tree/closed"), fs::Permissions::from_mode(0o500)).unwrap();
    fs::write(path("file"), "").unwrap();
    fs::write(path("kept"), "").unwrap();
    symlink(path("kept"), path("link")).unwrap();
    for name in ["tree", "file", "link", "none", "none/at/all"] {
        remove(&path(name)).unwrap();
    }
    assert_eq!(names(place.path()), ["kept"]);
    let error = remove(&path("kept/below")).unwrap_err().to_string();
    assert!(error.starts_with("removing `"), "{error}");
}
