//! What a port's peer sent, and how well it arrived: RFC 3550 appendix A.1 (validity), A.3 (loss), A.8 (jitter).
//!
//! One source at a time: a new SSRC closes the books of the old one and opens new ones; the losses add up.
//! Arrival times are those of the batch a packet was read in, at most one nap (see `thread`) late; jitter is as coarse.

use crate::base::now::Micros;
use crate::media::latch::Header;

/// RFC 3550 A.1: a larger jump forward is a restart, not a loss.
const MAX_DROPOUT: u16 = 3_000;
/// RFC 3550 A.1: a larger jump back is a restart, not a late packet.
const MAX_MISORDER: u16 = 100;

/// The books of one received stream.
#[derive(Debug, Default)]
pub struct Reception {
    source: Option<Books>,
    /// Lost of the sources before.
    lost_before: u64,
    /// Clock of the dynamic payload types, Hz.
    dynamic_clock: u32,
    clock: u32,
    transit: u32,
    has_transit: bool,
    /// Scaled by 16, as in A.8.
    jitter: u32,
}

#[derive(Debug)]
struct Books {
    ssrc: u32,
    base: u16,
    max: u16,
    /// Sequence numbers that wrapped around, times 65,536.
    cycles: u64,
    received: u64,
    /// What the second packet of a restarted sequence would have.
    suspect: Option<u16>,
}

impl Reception {
    /// `clock` is the SDP's for dynamic payload types, Hz; 0 means 8,000.
    pub fn set_clock(&mut self, clock: u32) {
        self.dynamic_clock = clock;
    }

    #[inline]
    pub fn packet(&mut self, now: Micros, payload: u8, header: Header) {
        match &mut self.source {
            Some(books) if books.ssrc == header.ssrc => {
                if let Some(lost) = books.packet(header.sequence) {
                    self.lost_before += lost;
                    self.has_transit = false;
                }
            }
            _ => self.open(header),
        }
        self.time(now, payload, header.timestamp);
    }

    /// Sequence numbers that never came. A packet that is merely late counts until it is there.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.source.as_ref().map_or(0, Books::lost)
    }

    /// RTP timestamp units.
    pub fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    #[cold]
    fn open(&mut self, header: Header) {
        self.lost_before = self.lost();
        self.source = Some(Books::new(header.ssrc, header.sequence));
        self.has_transit = false;
        self.jitter = 0;
    }

    #[inline]
    fn time(&mut self, now: Micros, payload: u8, timestamp: u32) {
        let clock = clock(payload, self.dynamic_clock);
        let (seconds, micros) = (now.0 / 1_000_000, now.0 % 1_000_000);
        let arrival = (seconds * u64::from(clock) + micros * u64::from(clock) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if self.has_transit && clock == self.clock {
            let difference = (transit.wrapping_sub(self.transit) as i32).unsigned_abs().min(u32::MAX >> 5);
            self.jitter = self.jitter + difference - ((self.jitter + 8) >> 4);
        }
        self.clock = clock;
        self.transit = transit;
        self.has_transit = true;
    }
}

impl Books {
    fn new(ssrc: u32, sequence: u16) -> Books {
        Books { ssrc, base: sequence, max: sequence, cycles: 0, received: 1, suspect: None }
    }

    /// Notes a packet; if it restarts the sequence, what was lost before the restart.
    #[inline]
    fn packet(&mut self, sequence: u16) -> Option<u64> {
        let ahead = sequence.wrapping_sub(self.max);
        if ahead < MAX_DROPOUT {
            if sequence < self.max {
                self.cycles += 1 << 16;
            }
            self.max = sequence;
        } else if ahead <= 0u16.wrapping_sub(MAX_MISORDER) {
            if self.suspect != Some(sequence) {
                self.suspect = Some(sequence.wrapping_add(1));
                return None;
            }
            let lost = self.lost();
            *self = Books::new(self.ssrc, sequence);
            return Some(lost);
        }
        self.received += 1;
        None
    }

    fn lost(&self) -> u64 {
        let expected = self.cycles + u64::from(self.max) + 1 - u64::from(self.base);
        expected.saturating_sub(self.received)
    }
}

/// The RTP clock of a payload type, Hz (RFC 3551 tables 4 and 5).
fn clock(payload: u8, dynamic: u32) -> u32 {
    match payload {
        6 => 16_000,
        10 | 11 => 44_100,
        14 | 25..=34 => 90_000,
        16 => 11_025,
        17 => 22_050,
        96.. if dynamic != 0 => dynamic,
        _ => 8_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(ssrc: u32, sequence: u16) -> Header {
        Header { ssrc, sequence, timestamp: u32::from(sequence).wrapping_mul(160) }
    }

    fn receive(reception: &mut Reception, ssrc: u32, sequences: impl IntoIterator<Item = u16>) {
        for sequence in sequences {
            reception.packet(Micros(u64::from(sequence) * 20_000), 0, header(ssrc, sequence));
        }
    }

    #[test]
    fn counts_what_never_came() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, (0..100).filter(|n| n % 10 != 5));
        assert_eq!(reception.lost(), 10);
        assert_eq!(reception.jitter(), 0);
    }

    #[test]
    fn reordering_is_not_loss_and_the_wrap_is_not_either() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, [65_533, 65_535, 65_534, 0, 2, 1, 3]);
        assert_eq!(reception.lost(), 0);
        receive(&mut reception, 1, [5]);
        assert_eq!(reception.lost(), 1);
    }

    #[test]
    fn duplicates_do_not_go_below_zero() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, [1, 1, 1, 2]);
        assert_eq!(reception.lost(), 0);
    }

    #[test]
    fn a_restarted_sequence_and_a_new_ssrc_keep_the_losses_of_before() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, [10, 12, 40_000, 40_001, 40_002]);
        assert_eq!(reception.lost(), 1);
        receive(&mut reception, 2, [7, 8, 10]);
        assert_eq!(reception.lost(), 2);
    }

    #[test]
    fn a_stray_sequence_number_restarts_nothing() {
        let mut reception = Reception::default();
        receive(&mut reception, 1, [10, 11, 50_000, 12, 13]);
        assert_eq!(reception.lost(), 0);
    }

    #[test]
    fn jitter_settles_at_the_mean_deviation() {
        let mut reception = Reception::default();
        // Packets alternately on time and 10 ms late: |D| is 10 ms, 80 units of an 8 kHz clock.
        for n in 0..2_000u64 {
            let arrival = Micros(n * 20_000 + (n % 2) * 10_000);
            reception.packet(arrival, 8, Header { ssrc: 1, sequence: n as u16, timestamp: n as u32 * 160 });
        }
        assert!((76..=81).contains(&reception.jitter()), "{}", reception.jitter());
    }

    #[test]
    fn jitter_is_in_units_of_the_negotiated_clock() {
        let mut reception = Reception::default();
        reception.set_clock(48_000);
        for n in 0..2_000u64 {
            let arrival = Micros(n * 20_000 + (n % 2) * 10_000);
            reception.packet(arrival, 111, Header { ssrc: 1, sequence: n as u16, timestamp: n as u32 * 960 });
        }
        assert!((470..=481).contains(&reception.jitter()), "{}", reception.jitter());
    }
}
