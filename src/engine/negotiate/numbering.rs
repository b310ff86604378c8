//! Which payload number means which codec on one m-line of one leg, for the dialog's life (RFC 3264 §8.3.2).

use crate::proto::sdp::{Format, FormatId};

#[derive(Clone, Debug, Default)]
pub struct Numbering {
    /// Formats in this leg's numbers, the peer's latest first. A codec may have several numbers, a number has one codec.
    met: Vec<Format>,
}

/// Dynamic numbers, the usual ones first (RFC 3551 §6); 64–95 are left alone, for there RTCP begins (RFC 5761 §4).
const DYNAMIC: [(u8, u8); 2] = [(96, 127), (35, 63)];

impl Numbering {
    /// The peer offers these formats: its numbers are the leg's.
    pub fn adopt(&mut self, offered: &[Format]) {
        let mut met: Vec<Format> = offered.iter().filter(|format| format.is_numbered()).cloned().collect();
        let outdated = |old: &Format| met.iter().any(|new| new.id == old.id || new.same_codec(old));
        let kept: Vec<Format> = self.met.drain(..).filter(|old| !outdated(old)).collect();
        met.extend(kept);
        self.met = met;
    }

    /// This leg's number for a partner's format: the one it has, else the partner's if free, else a free one. None when
    /// the format means nothing but its number and that is taken, or when all are.
    pub fn number(&mut self, format: &Format) -> Option<u8> {
        if let Some(known) = self.met.iter().find(|known| known.same_codec(format)) {
            return known.number();
        }
        let wanted = format.number()?;
        let number = if self.is_free(wanted) {
            wanted
        } else {
            format.codec.as_ref()?;
            DYNAMIC.iter().flat_map(|(from, to)| *from..=*to).find(|number| self.is_free(*number))?
        };
        self.met.push(Format { id: FormatId::Number(number), ..format.clone() });
        Some(number)
    }

    fn is_free(&self, number: u8) -> bool {
        !self.met.iter().any(|format| format.number() == Some(number))
    }
}
