//! Call ladders as text. Each `*.txt` beside this file is a script of what phones send, and after each step, indented, what
//! then went over the wire, as the real engine answered it. `UPDATE_EXPECT=1 cargo test --test flow` writes what happens
//! now into the files, to be reviewed as a diff. How to write one: `README.md` in this folder.
//!
//! Nothing here shares code with the engine but its boundary: the phones have their own small SIP and SDP.

mod phone;
mod script;
mod sdp;
mod sip;
mod summary;
mod world;

use script::{Script, Step};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use world::World;

#[test]
fn every_ladder_goes_as_written() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let only = std::env::var("LADDER").unwrap_or_default();
    let mut wrong = String::new();
    let mut count = 0;
    for path in ladders().into_iter().filter(|path| path.to_string_lossy().contains(&only)) {
        count += 1;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let written = std::fs::read_to_string(&path).unwrap();
        match play(&written) {
            Ok((played, left)) => {
                if update {
                    std::fs::write(&path, &played).unwrap();
                } else if played != written {
                    let _ = write!(wrong, "{name}: {}", difference(&written, &played));
                }
                left.into_iter()
                    .for_each(|left| _ = writeln!(wrong, "{name}: when all is over, something is left: {left}\n"));
            }
            Err(error) => _ = writeln!(wrong, "{name}: {error}\n"),
        }
    }
    assert!(count > 0, "no ladder");
    assert!(wrong.is_empty(), "\n{wrong}UPDATE_EXPECT=1 writes what happens now.");
}

#[test]
fn a_ladder_that_goes_another_way_is_noticed() {
    let written = std::fs::read_to_string(folder().join("caller_hangs_up.txt")).unwrap();
    let (played, _) = play(&written).unwrap();
    let falsified = written.replacen("180 Ringing", "181 Ringing", 1);
    assert_ne!(falsified, written);
    assert!(difference(&falsified, &played).contains("181 Ringing"));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flow")
}

fn ladders() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    found.sort();
    found
}

/// The script with what happens now after each step; and what is left when timers have run out.
fn play(text: &str) -> Result<(String, Option<String>), String> {
    let script = Script::parse(text)?;
    let mut world = World::new();
    let mut played = String::new();
    for step in &script.steps {
        played.push_str(&step.text);
        let lines =
            run(&mut world, step).map_err(|e| format!("line {}: `{}`: {e}", step.line, step.words.join(" ")))?;
        for line in lines {
            let _ = writeln!(played, "    {}", line.trim_end());
        }
    }
    played.push_str(&script.rest);
    Ok((played, world.at_peace().err()))
}

fn run(world: &mut World, step: &Step) -> Result<Vec<String>, String> {
    world.step(step)?;
    Ok(world.take_lines())
}

/// The first line that differs, with what stands around it.
fn difference(written: &str, played: &str) -> String {
    let (written, played): (Vec<&str>, Vec<&str>) = (written.lines().collect(), played.lines().collect());
    let at = (0..).find(|i| written.get(*i) != played.get(*i)).unwrap_or(0);
    let show = |lines: &[&str]| {
        let from = at.saturating_sub(4).min(lines.len());
        let to = (at + 6).min(lines.len());
        let shown = (from..to).map(|i| format!("{} {}\n", if i == at { ">>" } else { "  " }, lines[i]));
        shown.collect::<String>()
    };
    format!("line {} differs\n  expected\n{}  happens\n{}\n", at + 1, show(&written), show(&played))
}
