//! Calling an extension: all its contacts ring, the first answer wins.
//!
//! ```text
//! Start ──no contact──────────────────────────────→ finish (not registered, unknown)
//!   ├──→ Waiting ──nobody connects within 3 s─────→ finish (not registered)
//!   │       ↓ a phone connects
//!   └──→ Ringing ──answer──→ Talking ──hang-up────→ finish (normal)
//!           ├──all refused, 6xx───────────────────→ finish (the best refusal)
//!           ├──ring time-out──────────────────────→ finish (no answer)
//!           └──caller gives up────────────────────→ finish (cancelled)
//! ```

use crate::base::cause::Cause;
use crate::base::ids::LegId;
use crate::base::limits;
use crate::base::mutant::{self, Mutant};
use crate::engine::app::{Action, App, AppEvent, Cx, Next};
use crate::engine::config::Redirects;
use std::time::Duration;

const RING: u32 = 1;
const LOOK: u32 = 2;

/// After our restart a phone on TCP can't be called until it connects again, which most do within seconds: its caller
/// waits that long, and we look that often whether it is there.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOKS: u32 = 12;

pub struct Dial {
    state: State,
    /// The pattern of the plan's rule that led here, for the trace.
    rule: Option<Box<str>>,
    /// Extensions a 3xx has led to, so that no redirection is followed twice.
    visited: Vec<Box<str>>,
}

enum State {
    /// No phone can be called yet; how often we will look again.
    Waiting {
        looks: u32,
    },
    Ringing {
        /// Legs that may still answer.
        open: Vec<LegId>,
        /// The best refusal so far.
        refusal: Option<(u16, Cause)>,
        /// The leg the caller hears.
        heard: Option<LegId>,
    },
    Talking {
        with: LegId,
    },
}

impl Dial {
    pub fn new(rule: Option<Box<str>>) -> Dial {
        Dial { state: State::Ringing { open: Vec::new(), refusal: None, heard: None }, rule, visited: Vec::new() }
    }

    fn start(&mut self, cx: &mut Cx<'_>) -> Next {
        let rule = self.rule.clone().unwrap_or("none".into());
        let dialled: Box<str> = cx.dialled.into();
        if cx.tenant.extension(&dialled).is_none() {
            cx.decide(format!("{dialled}: no such extension (dialplan rule: {rule})"));
            return Next::Finish(Cause::UnknownNumber);
        }
        let waiting = cx.contacts.awaiting(cx.tenant, &dialled);
        if waiting > 0 && cx.contacts.contacts(cx.tenant, &dialled).is_empty() {
            cx.decide(format!("{dialled}: waits for its phones to connect again after a restart: {waiting}"));
        }
        self.call_or_wait(cx, LOOKS)
    }

    fn call_or_wait(&mut self, cx: &mut Cx<'_>, looks: u32) -> Next {
        let rule = self.rule.clone().unwrap_or("none".into());
        let dialled: Box<str> = cx.dialled.into();
        let legs = self.ring(cx, &dialled);
        if legs.is_empty() && looks > 0 && cx.contacts.awaiting(cx.tenant, &dialled) > 0 {
            cx.ask(Action::Timer { tag: LOOK, after: PATIENCE / LOOKS });
            self.state = State::Waiting { looks: looks - 1 };
            return Next::Stay;
        }
        if legs.is_empty() && cx.sips {
            let text = format!("{dialled}: no phone is registered over TLS, and the caller dialled a sips: address");
            cx.decide(text.as_str());
            cx.ask(Action::Explain(text.into()));
            return Next::Finish(Cause::NotRegistered);
        }
        if legs.is_empty() {
            cx.decide(format!("{dialled}: no phone is registered"));
            return Next::Finish(Cause::NotRegistered);
        }
        cx.decide(format!("{dialled}: extension (dialplan rule: {rule}), contacts called: {}", legs.len()));
        cx.ask(Action::Timer { tag: RING, after: cx.config.ring_timeout });
        self.state = State::Ringing { open: legs, refusal: None, heard: None };
        Next::Stay
    }

    /// Calls every contact of an extension.
    fn ring(&mut self, cx: &mut Cx<'_>, extension: &str) -> Vec<LegId> {
        if self.visited.len() >= limits::FORK || self.visited.iter().any(|seen| **seen == *extension) {
            return Vec::new();
        }
        let contacts = cx.contacts.contacts(cx.tenant, extension);
        if !contacts.is_empty() {
            self.visited.push(extension.into());
        }
        contacts.into_iter().take(limits::FORK).map(|binding| cx.dial(binding)).collect()
    }

    /// A 3xx: the extensions of this tenant it names ring too, if the configuration says so.
    fn redirect(&mut self, cx: &mut Cx<'_>, contacts: &[Box<[u8]>]) -> Vec<LegId> {
        if cx.config.redirects == Redirects::Refuse {
            cx.decide("redirections of phones are refused by configuration");
            return Vec::new();
        }
        let mut legs = Vec::new();
        for contact in contacts {
            let Some(number) = crate::engine::target::number_of_uri(contact) else { continue };
            if cx.tenant.extension(&number).is_some() {
                cx.decide(format!("the phone redirects to {number}"));
                legs.extend(self.ring(cx, &number));
            }
        }
        legs
    }

    fn refused(&mut self, cx: &mut Cx<'_>, leg: LegId, status: u16, cause: Cause, contacts: &[Box<[u8]>]) -> Next {
        let more = self.redirect_if(cx, status, contacts);
        let State::Ringing { open, refusal, heard } = &mut self.state else { return Next::Stay };
        open.retain(|other| *other != leg);
        open.extend(more);
        if *heard == Some(leg) {
            *heard = None;
        }
        let better = refusal.is_none_or(|(best, _)| rank(status) < rank(best));
        if better {
            *refusal = Some((status, cause));
        }
        let global = status >= 600;
        match refusal {
            Some((_, cause)) if open.is_empty() || global => Next::Finish(*cause),
            _ => Next::Stay,
        }
    }

    fn redirect_if(&mut self, cx: &mut Cx<'_>, status: u16, contacts: &[Box<[u8]>]) -> Vec<LegId> {
        if (300..400).contains(&status) { self.redirect(cx, contacts) } else { Vec::new() }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, leg: LegId) -> Next {
        let State::Ringing { open, .. } = &self.state else {
            cx.ask(Action::Drop { leg, cause: Cause::AnsweredElsewhere });
            return Next::Stay;
        };
        for other in open.iter().filter(|other| **other != leg && !mutant::on(Mutant::ForkNotCancelled)) {
            cx.ask(Action::Drop { leg: *other, cause: Cause::AnsweredElsewhere });
        }
        cx.ask(Action::StopTimer { tag: RING });
        cx.ask(Action::Connect { leg });
        self.state = State::Talking { with: leg };
        Next::Stay
    }

    fn progress(&mut self, cx: &mut Cx<'_>, leg: LegId, status: u16, media: bool) -> Next {
        let State::Ringing { heard, .. } = &mut self.state else { return Next::Stay };
        if media && heard.is_none() {
            *heard = Some(leg);
        }
        let hears = media && *heard == Some(leg);
        // 183 without media says nothing the caller could use.
        if hears || status != 183 {
            let status = if hears && status == 180 { 183 } else { status };
            cx.ask(Action::Progress { status, heard: hears.then_some(leg) });
        }
        Next::Stay
    }
}

impl App for Dial {
    fn on(&mut self, cx: &mut Cx<'_>, event: &AppEvent) -> Next {
        match event {
            AppEvent::Start => self.start(cx),
            AppEvent::Progress { leg, status, media } => self.progress(cx, *leg, *status, *media),
            AppEvent::Answered { leg } => self.answered(cx, *leg),
            AppEvent::Refused { leg, status, cause, contacts } => self.refused(cx, *leg, *status, *cause, contacts),
            AppEvent::Timer { tag: RING } => {
                cx.decide(format!("nobody answered within {} s", cx.config.ring_timeout.as_secs()));
                Next::Finish(Cause::NoAnswer)
            }
            AppEvent::Timer { tag: LOOK } => match self.state {
                State::Waiting { looks } => self.call_or_wait(cx, looks),
                _ => Next::Stay,
            },
            AppEvent::Timer { .. } => Next::Stay,
            AppEvent::Ended { leg, cause } => match &self.state {
                State::Waiting { .. } => Next::Finish(*cause),
                State::Ringing { .. } if *leg == cx.caller => Next::Finish(*cause),
                State::Ringing { .. } => self.refused(cx, *leg, 480, *cause, &[]),
                State::Talking { with } if *leg == *with || *leg == cx.caller => Next::Finish(*cause),
                State::Talking { .. } => Next::Stay,
            },
        }
    }

    fn text(&self) -> String {
        match &self.state {
            State::Waiting { .. } => "dial: waits for a phone to connect again".to_owned(),
            State::Ringing { open, .. } => format!("dial: {} ringing", open.len()),
            State::Talking { with } => format!("dial: talking with leg {with}"),
        }
    }
}

/// Which refusal the caller is told of (RFC 3261 §16.7): the lowest is the best. A 6xx decides; a person's "busy" says
/// more than a phone that was not there.
fn rank(status: u16) -> u16 {
    match status {
        600.. => 0,
        486 => 1,
        480 => 2,
        400..=499 => 3,
        300..=399 => 4,
        _ => 5,
    }
}
