//! The house rules as tests: who may import whom, what the sans-IO core never touches, how long files and functions may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Which parts a part may import. This table is the architecture; README.md explains it.
const IMPORTS: [(&str, &[&str]); 12] = [
    ("base", &[]),
    ("proto", &["base"]),
    ("directory", &["base", "proto"]),
    ("engine", &["base", "proto", "directory"]),
    ("apps", &["base", "proto", "directory", "engine"]),
    ("board", &["base", "engine"]),
    ("media", &["base", "proto", "engine"]),
    ("net", &["base", "proto", "engine"]),
    ("store", &["base", "proto", "directory", "engine"]),
    ("api", &["base", "proto", "directory", "engine", "board", "store"]),
    ("node", &["base", "proto", "directory", "engine", "apps", "board", "media", "net", "store", "api"]),
    ("main.rs", &["base", "directory", "node", "store"]),
];

const CORE: [&str; 5] = ["base", "proto", "directory", "engine", "apps"];

/// What the core never reads: clocks, sockets, files, the environment, threads, the operating system's randomness.
const OUTSIDE: [&str; 13] = [
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "io::std",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "tokio",
    "getrandom",
    "RandomState::new",
];

const LONGEST_FILE: usize = 800;
const LONGEST_FUNCTION: usize = 70;

#[test]
fn every_part_imports_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let part = part_of(&path);
        if part == "lib.rs" {
            continue;
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == part) else {
            wrong.push(format!("{}: part `{part}` is not in the table", path.display()));
            continue;
        };
        for (line, imported) in imports(&text) {
            if imported != part && !allowed.contains(&imported) {
                wrong.push(format!("{}:{line}: {part} may not import {imported}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_touches_nothing_outside() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        if !CORE.contains(&part_of(&path).as_str()) || is_test(&path) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            if let Some(word) = OUTSIDE.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("{}:{number}: `{word}` in the sans-IO core", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_stay_short() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{}: {lines} lines, at most {LONGEST_FILE}", path.display()));
        }
        for (number, name, length) in functions(&text) {
            if length > LONGEST_FUNCTION {
                wrong.push(format!("{}:{number}: fn {name} has {length} lines", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_undone() {
    // Split, so that this file does not find itself.
    let marks = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("#[ign", "ore")];
    let mut wrong = Vec::new();
    for root in ["src", "tests", "benches"] {
        for (path, text) in sources(root) {
            for (number, line) in text.lines().enumerate() {
                if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                    wrong.push(format!("{}:{}: {mark}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_room_is_named_after_nothing() {
    let vague = ["utils", "util", "common", "helpers", "helper", "manager", "types", "prelude", "misc"];
    let named = |path: &Path| path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| vague.contains(&stem));
    let wrong: Vec<PathBuf> = sources("src").into_iter().map(|(path, _)| path).filter(|path| named(path)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn unsafe_code_is_in_its_corner_and_gives_its_reason() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in code_lines(&text) {
            if !line.contains("unsafe ") {
                continue;
            }
            let corner = path.file_name().is_some_and(|name| name == "sys.rs");
            let reason = lines[number.saturating_sub(6)..number].iter().any(|line| line.contains("SAFETY:"));
            if !corner || !reason {
                wrong.push(format!("{}:{number}: unsafe outside a sys.rs, or without `SAFETY:`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All Rust files below a folder of the package, with their text.
fn sources(root: &str) -> Vec<(PathBuf, String)> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![base.join(root)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(base).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The part a file belongs to: the folder or file right below `src`.
fn part_of(path: &Path) -> String {
    path.iter().nth(1).unwrap().to_string_lossy().into_owned()
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|name| name == "tests" || name.to_string_lossy().ends_with("tests.rs"))
}

/// Lines of the file that are neither comments nor in its closing test module.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines.take_while(|(_, line)| *line != "mod tests {").filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// `crate::part` and `strowger::part` mentions outside tests.
fn imports(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code_lines(text) {
        for root in ["crate::", "strowger::"] {
            for (at, _) in line.match_indices(root) {
                let rest = &line[at + root.len()..];
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                if end > 0 {
                    found.push((number, &rest[..end]));
                }
            }
        }
    }
    found
}

/// Line, name and length of each function, by rustfmt's indentation.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(super) fn ", "pub(crate) fn "];
        let Some(rest) = words.iter().find_map(|word| code.strip_prefix(word)) else { continue };
        let name = &rest[..rest.find(['(', '<']).unwrap_or(rest.len())];
        let close = format!("{}}}", " ".repeat(indent));
        let length = lines[at..].iter().position(|line| *line == close).map_or(1, |end| end + 1);
        let one_line = code.ends_with('}') || code.ends_with(';');
        found.push((at + 1, name, if one_line { 1 } else { length }));
    }
    found
}
