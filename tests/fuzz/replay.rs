//! The corpora, file by file.

use crate::{TARGETS, Target};
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// All corpora together, bytes.
const LARGEST: u64 = 1_000_000;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[test]
fn everything_the_fuzzer_kept_passes() {
    let mut failed = Vec::new();
    for Target { name, run, data } in TARGETS {
        let kept = files(&root(&format!("fuzz/corpus/{name}")));
        assert!(!kept.is_empty(), "{name} has no corpus");
        for path in kept.into_iter().chain(data.iter().flat_map(|folder| files(&root(&format!("tests/data/{folder}")))))
        {
            let bytes = fs::read(&path).unwrap();
            // The panic hook has told why.
            if catch_unwind(|| run(&bytes)).is_err() {
                failed.push(format!("{name} {}", path.display()));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_binary_is_replayed_and_the_corpora_stay_small() {
    let binaries = files(&root("fuzz/fuzz_targets"));
    let names: Vec<String> = binaries.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into()).collect();
    for name in &names {
        let is_media = name == "rtp" && cfg!(not(feature = "media"));
        assert!(is_media || TARGETS.iter().any(|target| target.name == name), "{name} is not in TARGETS");
    }
    assert!(TARGETS.iter().all(|target| names.iter().any(|name| name == target.name)));
    let all = names.iter().flat_map(|name| files(&root(&format!("fuzz/corpus/{name}"))));
    let bytes: u64 = all.map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= LARGEST, "{bytes} bytes of corpora: scripts/fuzz keep");
}
