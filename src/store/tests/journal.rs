//! What is left of a journal after a torn write or a damaged byte, at every place of it.

use super::*;
use crate::store::codec;
use crate::store::journal::{Appender, Journal, Limits, Reader, Replay};
use std::fs::{read, write};
use std::path::PathBuf;

const LIMITS: Limits = Limits { segment_bytes: 1 << 20, journal_bytes: 8 << 20, fdatasync: false };

fn appender(data_dir: &Path, limits: Limits) -> Appender {
    Appender::new(Journal::lock(data_dir).unwrap().unwrap(), limits).unwrap()
}

fn some_records() -> Vec<RecordBody> {
    let gone = RecordBody::Unbound { tenant: DEFAULT_TENANT, extension: "1001".into(), key: "a".into() };
    vec![start("call-1-1"), bind("1001", "a", 1), gone, end("call-1-1")]
}

/// The records of the only segment as a replay sees them.
fn replayed(path: &Path) -> (Vec<RecordBody>, usize) {
    let mut replay = Replay::open(path, 1).unwrap();
    let mut bodies = Vec::new();
    while let Some((index, record)) = replay.next() {
        assert_eq!(index, bodies.len() as u64 + 1);
        bodies.push(codec::decode(record).unwrap().unwrap());
    }
    (bodies, replay.torn())
}

fn written(data_dir: &Path) -> (PathBuf, Vec<RecordBody>) {
    let all = some_records();
    let mut appender = appender(data_dir, LIMITS);
    for body in &all {
        appender.append(std::iter::once(body)).unwrap();
    }
    (data_dir.join("journal/00000000000000000001.log"), all)
}

#[test]
fn a_tail_torn_at_any_byte_leaves_the_records_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, all) = written(dir.path());
    let whole = read(&path).unwrap();
    let mut sizes = Vec::new();
    for length in 0..=whole.len() {
        write(&path, &whole[..length]).unwrap();
        let (bodies, torn) = replayed(&path);
        assert_eq!(bodies, all[..bodies.len()], "cut at byte {length}");
        if sizes.last() != Some(&bodies.len()) {
            sizes.push(bodies.len());
        }
        assert!(torn <= length);
        // Disks also leave a hole where the tail should be.
        let mut hole = whole[..length].to_vec();
        hole.resize(whole.len() + 512, 0);
        write(&path, &hole).unwrap();
        assert_eq!(replayed(&path).0, bodies, "zeros from byte {length}");
    }
    assert_eq!(sizes, [0, 1, 2, 3, 4], "every record counts once it is whole");
}

#[test]
fn no_damaged_byte_goes_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, all) = written(dir.path());
    let whole = read(&path).unwrap();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            write(&path, &damaged).unwrap();
            let (bodies, _) = replayed(&path);
            assert!(bodies.len() < all.len(), "byte {at}");
            assert_eq!(bodies, all[..bodies.len()], "byte {at}");
        }
    }
}

#[test]
fn a_record_at_another_place_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (path, all) = written(dir.path());
    let whole = read(&path).unwrap();
    let first = 16 + 8 + u32::from_le_bytes(whole[16..20].try_into().unwrap()) as usize;
    let twice = [&whole[..first], &whole[16..]].concat();
    write(&path, twice).unwrap();
    assert_eq!(replayed(&path).0, all[..1], "the first record again is not the second");
}

#[test]
fn the_reader_follows_the_appender_over_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut appender = appender(dir.path(), Limits { segment_bytes: 2_000, ..LIMITS });
    let mut reader = Reader::new(appender.ledger());
    let mut read_back = Vec::new();
    let mut all = Vec::new();
    for n in 0..200u32 {
        let group: Vec<_> = (0..n % 7).map(|m| bind("1001", &format!("{n}-{m}"), n)).collect();
        appender.append(group.iter()).unwrap();
        if n % 10 == 0 {
            appender.probe().unwrap();
        }
        all.extend(group);
        if n % 3 == 0 {
            assert_eq!(reader.read(5_000, |body| read_back.push(body)).unwrap(), 0);
            appender.ledger().release(reader.next());
        }
    }
    while reader.is_behind() {
        assert_eq!(reader.read(5_000, |body| read_back.push(body)).unwrap(), 0);
    }
    assert!(read_back == all);
}

#[test]
fn the_reader_passes_over_damage_and_counts_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut appender = appender(dir.path(), Limits { segment_bytes: 1_000, ..LIMITS });
    let group = |n: u32| (0..4).map(|m| bind("1001", &m.to_string(), n * 4 + m)).collect::<Vec<_>>();
    for n in 0..3 {
        appender.append(group(n).iter()).unwrap();
    }
    // Records 5 to 8 have a file of their own.
    let path = dir.path().join("journal/00000000000000000005.log");
    let mut damaged = read(&path).unwrap();
    damaged[100] ^= 1;
    write(&path, damaged).unwrap();
    let mut reader = Reader::new(appender.ledger());
    let mut cseqs = Vec::new();
    let mut lost = 0;
    let mut read_all = |reader: &mut Reader| {
        while reader.is_behind() {
            let take = |body| match body {
                RecordBody::Binding(binding) => cseqs.push(binding.cseq),
                other => panic!("{other:?} was never written"),
            };
            lost += reader.read(1 << 20, take).unwrap();
        }
    };
    read_all(&mut reader);
    // Damage in the newest file: what is written after it is found again.
    appender.append(group(3).iter()).unwrap();
    let path = dir.path().join("journal/00000000000000000013.log");
    let mut damaged = read(&path).unwrap();
    damaged[20] ^= 1;
    write(&path, damaged).unwrap();
    read_all(&mut reader);
    appender.append([bind("1001", "x", 99)].iter()).unwrap();
    read_all(&mut reader);
    assert_eq!(cseqs, [0, 1, 2, 3, 8, 9, 10, 11, 99]);
    assert_eq!(lost, 8);
}

#[test]
fn at_its_bound_the_journal_refuses_whole_groups() {
    let dir = tempfile::tempdir().unwrap();
    let mut appender = appender(dir.path(), Limits { segment_bytes: 2_000, journal_bytes: 10_000, ..LIMITS });
    let group: Vec<_> = (0..3).map(|n| bind("1001", &n.to_string(), n)).collect();
    let mut taken = 0;
    while appender.append(group.iter()).is_ok() {
        taken += 3;
        assert!(taken < 1_000);
    }
    let ledger = appender.ledger();
    assert!(ledger.bytes() <= 10_000);
    let mut reader = Reader::new(ledger.clone());
    let mut seen = 0;
    while reader.is_behind() {
        reader.read(1 << 20, |_| seen += 1).unwrap();
    }
    assert_eq!(seen, taken);
    ledger.release(reader.next());
    appender.append(group.iter()).unwrap();
}
