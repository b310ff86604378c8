//! The journal: records in append-only files, before the database has them.
//!
//! A segment is a file named by the index of its first record. It begins with a header (magic and version, first index);
//! then come frames: length, CRC-32C of index and record, record. Indices grow by one over all runs, so that the database can
//! say with one number what it has.
//!
//! Invariants: a segment goes only when the database has committed every record in it. What follows the first frame
//! that is not whole is no record: a group is written at once, so only a torn last write leaves such a tail.

use crate::engine::record::RecordBody;
use crate::store::codec;
use crate::store::sync::Syncer;
use crc::{CRC_32_ISCSI, Crc, Table};
use nix::fcntl::{FallocateFlags, fallocate};
use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MAGIC: [u8; 8] = *b"strowgJ1";
const HEADER: usize = 16;
const FRAME_HEAD: usize = 8;
/// No record is longer: it says less than a SIP message, that has at most 64 KiB.
const FRAME_MAX: usize = 128 << 10;
/// What is read at once: one whole frame at least.
const CHUNK: usize = 256 << 10;

static CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The right to write the journal of a data directory, which one process has.
#[derive(Debug)]
pub struct Journal {
    pub(super) directory: PathBuf,
    /// Index of the next record.
    pub(super) next: u64,
    _lock: File,
}

impl Journal {
    /// None if another process has it.
    pub(super) fn lock(data_dir: &Path) -> io::Result<Option<Journal>> {
        let directory = data_dir.join("journal");
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let path = directory.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Journal { directory, next: 1, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// First index and path of each segment, oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(first), Some("log")) = (stem, path.extension().and_then(|e| e.to_str())) {
                found.push((first, path));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// What a file's bytes hold at one place.
#[derive(Debug, PartialEq, Eq)]
enum Frame<'a> {
    Whole(&'a [u8]),
    /// The bytes end before the frame does.
    Short,
    Damaged,
}

fn frame(bytes: &[u8], index: u64) -> Frame<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEAD>() else { return Frame::Short };
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if length == 0 || length > FRAME_MAX {
        return Frame::Damaged;
    }
    let Some(record) = rest.get(..length) else { return Frame::Short };
    if checksum(index, record) == sum { Frame::Whole(record) } else { Frame::Damaged }
}

fn checksum(index: u64, record: &[u8]) -> u32 {
    let mut digest = CHECKSUM.digest();
    digest.update(&index.to_le_bytes());
    digest.update(record);
    digest.finalize()
}

fn header(first: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(&first.to_le_bytes());
    header
}

/// The whole records of one segment, for the replay.
pub(super) struct Replay {
    bytes: Vec<u8>,
    offset: usize,
    next: u64,
}

impl Replay {
    pub(super) fn open(path: &Path, first: u64) -> io::Result<Replay> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        // A file without its whole header was made and never written.
        let offset = if bytes.starts_with(&header(first)) { HEADER } else { bytes.len() };
        Ok(Replay { bytes, offset, next: first })
    }

    /// The next record and its index.
    pub(super) fn next(&mut self) -> Option<(u64, &[u8])> {
        let Frame::Whole(record) = frame(&self.bytes[self.offset..], self.next) else { return None };
        let index = self.next;
        self.offset += FRAME_HEAD + record.len();
        self.next += 1;
        Some((index, record))
    }

    /// Bytes after the last whole record.
    pub(super) fn torn(&self) -> usize {
        self.bytes.len() - self.offset
    }
}

/// Which segments there are, shared by the thread that appends and the one that brings the records to the database.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    segments: Mutex<Segments>,
    /// Times the disk refused to be written through.
    sync_errors: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Segments {
    files: VecDeque<Segment>,
    /// Index of the next record to be written.
    end: u64,
}

#[derive(Clone, Debug)]
struct Segment {
    first: u64,
    bytes: u64,
    path: PathBuf,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Segments> {
        // Every change of the table is a single step: a panic elsewhere leaves it whole.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sync_errors(&self) -> u64 {
        self.sync_errors.load(Ordering::Relaxed)
    }

    /// Index of the next record to be written.
    pub(super) fn end(&self) -> u64 {
        self.lock().end
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lock().files.iter().map(|segment| segment.bytes).sum()
    }

    /// The database has every record before `next`: files with none after go.
    pub(super) fn release(&self, next: u64) {
        let mut gone = Vec::new();
        {
            let mut table = self.lock();
            while table.files.get(1).is_some_and(|successor| successor.first <= next) {
                gone.extend(table.files.pop_front());
            }
        }
        for segment in gone {
            // One that stays is found, and known to be applied, at the next start.
            let _ = std::fs::remove_file(segment.path);
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) segment_bytes: u64,
    pub(super) journal_bytes: u64,
    /// Force what is written to the disk, soon after.
    pub(super) fdatasync: bool,
}

/// Writes groups of records.
pub(super) struct Appender {
    journal: Journal,
    ledger: Arc<Ledger>,
    limits: Limits,
    file: Arc<File>,
    directory: Arc<File>,
    syncer: Option<Syncer>,
    /// Bytes of the current file that hold whole groups.
    length: u64,
    /// A torn write could not be cut off: the next group needs a new file.
    torn: bool,
    buffer: Vec<u8>,
}

impl Appender {
    pub(super) fn new(journal: Journal, limits: Limits) -> io::Result<Appender> {
        let (file, path) = create(&journal.directory, journal.next, limits.segment_bytes)?;
        let directory = Arc::new(File::open(&journal.directory)?);
        let segment = Segment { first: journal.next, bytes: HEADER as u64, path };
        let segments = Mutex::new(Segments { files: VecDeque::from([segment]), end: journal.next });
        let ledger = Ledger { segments, sync_errors: Arc::default() };
        let syncer = limits.fdatasync.then(|| Syncer::start(ledger.sync_errors.clone())).transpose()?;
        if let Some(syncer) = &syncer {
            syncer.due(&directory);
        }
        Ok(Appender {
            journal,
            ledger: Arc::new(ledger),
            limits,
            file,
            directory,
            syncer,
            length: HEADER as u64,
            torn: false,
            buffer: Vec::new(),
        })
    }

    pub(super) fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    /// All of them or none.
    pub(super) fn append<'a>(&mut self, records: impl Iterator<Item = &'a RecordBody>) -> io::Result<()> {
        self.buffer.clear();
        let mut next = self.journal.next;
        for record in records {
            self.frame(next, |out| codec::encode(record, out));
            next += 1;
        }
        self.write(next)
    }

    /// Writes what means nothing, to see whether it can be done.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.frame(self.journal.next, codec::encode_probe);
        self.write(self.journal.next + 1)
    }

    fn frame(&mut self, index: u64, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME_HEAD]);
        encode(&mut self.buffer);
        let (head, record) = self.buffer[start..].split_at_mut(FRAME_HEAD);
        head[..4].copy_from_slice(&(record.len() as u32).to_le_bytes());
        head[4..].copy_from_slice(&checksum(index, record).to_le_bytes());
    }

    fn write(&mut self, next: u64) -> io::Result<()> {
        let bytes = self.buffer.len() as u64;
        if self.ledger.bytes() + bytes > self.limits.journal_bytes {
            return Err(io::Error::new(ErrorKind::QuotaExceeded, "the journal has reached its bound"));
        }
        if self.torn || (self.length > HEADER as u64 && self.length + bytes > self.limits.segment_bytes) {
            self.rotate()?;
        }
        if let Err(e) = self.file.write_all_at(&self.buffer, self.length) {
            // Half a group must not stay: its first records were refused, and could be taken for the next ones.
            self.torn = self.file.set_len(self.length).is_err();
            return Err(e);
        }
        if let Some(syncer) = &self.syncer {
            syncer.due(&self.file);
        }
        self.length += bytes;
        self.journal.next = next;
        {
            let mut table = self.ledger.lock();
            table.end = next;
            if let Some(current) = table.files.back_mut() {
                current.bytes = self.length;
            }
        }
        if self.buffer.capacity() > CHUNK {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let (file, path) = match create(&self.journal.directory, self.journal.next, self.limits.segment_bytes) {
            Ok(made) => made,
            // The old file may have room where there is none for a new one.
            Err(e) => return if self.torn { Err(e) } else { Ok(()) },
        };
        if let Some(syncer) = &self.syncer {
            syncer.due(&self.directory);
        }
        self.file = file;
        self.length = HEADER as u64;
        self.torn = false;
        let segment = Segment { first: self.journal.next, bytes: self.length, path };
        self.ledger.lock().files.push_back(segment);
        Ok(())
    }
}

fn create(directory: &Path, first: u64, reserve: u64) -> io::Result<(Arc<File>, PathBuf)> {
    let path = directory.join(format!("{first:020}.log"));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
    // Room taken ahead: when others fill the disk, calls are still recorded for a while. Not all file systems can.
    let _ = fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, i64::try_from(reserve).unwrap_or(0));
    match file.write_all(&header(first)) {
        Ok(()) => Ok((Arc::new(file), path)),
        Err(e) => {
            let _ = std::fs::remove_file(&path);
            Err(e)
        }
    }
}

/// Reads the records behind the appender, each once.
pub(super) struct Reader {
    ledger: Arc<Ledger>,
    open: Option<Open>,
    next: u64,
    chunk: Vec<u8>,
}

struct Open {
    file: File,
    first: u64,
    offset: u64,
}

impl Reader {
    /// Starts at the oldest segment.
    pub(super) fn new(ledger: Arc<Ledger>) -> Reader {
        let next = ledger.lock().files.front().map_or(1, |segment| segment.first);
        Reader { ledger, open: None, next, chunk: Vec::new() }
    }

    /// Index of the next record to read.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn is_behind(&self) -> bool {
        self.next < self.ledger.end()
    }

    /// Hands records to `take` until `limit` bytes or the end are reached; returns how many were damaged and are lost.
    pub(super) fn read(&mut self, limit: usize, mut take: impl FnMut(RecordBody)) -> io::Result<u64> {
        let mut lost = 0;
        let mut seen = 0;
        while self.is_behind() && seen < limit {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let segment = self.ledger.lock().files.iter().find(|s| s.first == self.next).cloned();
                    let Some(segment) = segment else {
                        lost += self.move_on(None)?;
                        continue;
                    };
                    let file = File::open(&segment.path)?;
                    self.open.insert(Open { file, first: segment.first, offset: HEADER as u64 })
                }
            };
            let first = open.first;
            let end = self.ledger.end();
            self.chunk.resize(CHUNK, 0);
            let count = read_at(&open.file, &mut self.chunk, open.offset)?;
            let mut bytes = &self.chunk[..count];
            let mut whole = 0;
            while self.next < end && seen < limit {
                let Frame::Whole(record) = frame(bytes, self.next) else { break };
                let size = FRAME_HEAD + record.len();
                match codec::decode(record) {
                    Ok(Some(body)) => take(body),
                    Ok(None) => {}
                    Err(codec::Unreadable) => lost += 1,
                }
                bytes = &bytes[size..];
                open.offset += size as u64;
                self.next += 1;
                seen += size;
                whole += 1;
            }
            if whole == 0 {
                lost += self.move_on(Some(first))?;
            }
        }
        Ok(lost)
    }

    /// Nothing more can be read from the segment that begins with `first`: goes on with the next, or else with what is yet
    /// to be written. Returns how many records were passed over.
    fn move_on(&mut self, first: Option<u64>) -> io::Result<u64> {
        let table = self.ledger.lock();
        let after = first.map_or(self.next, |first| self.next.max(first + 1));
        let (next, open) = match table.files.iter().find(|segment| segment.first >= after) {
            Some(segment) => (segment.first, None),
            None => match table.files.back() {
                Some(last) => {
                    let file = File::open(&last.path)?;
                    (table.end, Some(Open { file, first: last.first, offset: last.bytes }))
                }
                None => (table.end, None),
            },
        };
        let lost = next - self.next;
        self.next = next;
        self.open = open;
        Ok(lost)
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}
