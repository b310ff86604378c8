//! A call: legs under one app, and what its record needs. Two legs that hear each other are its `pair`.
//!
//! Invariant: a leg belongs to exactly one call; a call is removed when its last leg is closed and its record written.

use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId};
use crate::base::now::Now;
use crate::base::timers::TimerId;
use crate::directory::Tenant;
use crate::engine::app::App;
use crate::engine::event::{CallSnapshot, CallState};
use crate::engine::record::{CallStart, Cdr};
use smallvec::SmallVec;
use std::sync::Arc;

pub struct Call {
    pub id: CallId,
    /// The id people and the API see: `call-{epoch}-{number}`.
    pub public: Arc<str>,
    pub tenant: Arc<Tenant>,
    pub from: Arc<str>,
    pub from_name: Box<str>,
    pub to: Arc<str>,
    pub caller: LegId,
    pub legs: SmallVec<[LegId; 4]>,
    /// None only while it runs, and when the call is over.
    pub app: Option<Box<dyn App>>,
    pub timers: SmallVec<[(u32, TimerId); 1]>,
    /// The caller and the leg it hears, bridged once that one has answered.
    pub pair: Option<(LegId, LegId)>,
    pub bridged: bool,
    /// The caller was answered with a description that may not fit the winner: if so, a new offer is due.
    pub reoffer_due: bool,
    pub state: CallState,
    /// What the refusal says in its Reason header.
    pub explanation: Option<Box<str>>,
    pub max_forwards: u8,
    /// The caller dialled a `sips:` URI: only phones on TLS may be called.
    pub sips: bool,
    /// Alert-Info, Call-Info and the like, carried to the called phones.
    pub carried: Vec<(&'static str, Box<str>)>,
    user_agent: Box<str>,
    started: Now,
    answered: Option<Now>,
    ended: Option<(Now, Cause)>,
    /// RTP packets received from the caller and from the answered party.
    pub packets: (u64, u64),
    /// Ports given back whose totals are on the way.
    pub leaving: usize,
    pub recorded: bool,
}

impl Call {
    pub fn new(now: Now, id: CallId, epoch: u64, caller: LegId, tenant: Arc<Tenant>, party: Party) -> Call {
        Call {
            id,
            public: format!("call-{epoch}-{id}").into(),
            tenant,
            from: party.number,
            from_name: party.name,
            to: party.dialled,
            caller,
            legs: SmallVec::from_slice(&[caller]),
            app: None,
            timers: SmallVec::new(),
            pair: None,
            bridged: false,
            reoffer_due: false,
            state: CallState::Calling,
            explanation: None,
            max_forwards: party.max_forwards,
            sips: party.sips,
            carried: party.carried,
            user_agent: party.user_agent,
            started: now,
            answered: None,
            ended: None,
            packets: (0, 0),
            leaving: 0,
            recorded: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    pub fn mark_answered(&mut self, now: Now) {
        self.answered.get_or_insert(now);
    }

    /// The answer did not reach the caller: the call counts as unanswered.
    pub fn take_back_answer(&mut self) {
        self.answered = None;
    }

    pub fn mark_ended(&mut self, now: Now, cause: Cause) {
        self.ended.get_or_insert((now, cause));
    }

    /// The other leg of the bridged pair.
    pub fn partner(&self, leg: LegId) -> Option<LegId> {
        let (a, b) = self.pair.filter(|_| self.bridged)?;
        match leg {
            _ if leg == a => Some(b),
            _ if leg == b => Some(a),
            _ => None,
        }
    }

    pub fn snapshot(&self) -> CallSnapshot {
        CallSnapshot {
            call: self.id,
            call_id: self.public.clone(),
            tenant: self.tenant.id,
            from: self.from.clone(),
            to: self.to.clone(),
            state: self.state,
            started: self.started.wall,
            answered: self.answered.map(|answered| answered.wall),
        }
    }

    pub fn start_record(&self) -> CallStart {
        CallStart {
            call_id: (*self.public).into(),
            tenant: self.tenant.id,
            from: (*self.from).into(),
            to: (*self.to).into(),
            start: self.started.wall,
            user_agent: self.user_agent.clone(),
        }
    }

    /// The record of a call that is over.
    pub fn record(&self) -> Option<Cdr> {
        let (end, cause) = self.ended?;
        let start = self.started;
        let micros = |since: Now| u64::try_from(end.mono.since(since.mono).as_micros()).unwrap_or(u64::MAX);
        let duration = micros(start);
        Some(Cdr {
            call_id: (*self.public).into(),
            linked_id: (*self.public).into(),
            tenant: self.tenant.id,
            from: (*self.from).into(),
            to: (*self.to).into(),
            start: start.wall,
            // The wall clock may have been set meanwhile: intervals are monotonic, and the record agrees with itself.
            answer: self.answered.map(|answered| start.wall + answered.mono.since(start.mono)),
            end: start.wall + end.mono.since(start.mono),
            duration,
            billsec: self.answered.map_or(0, micros),
            cause,
            user_agent: self.user_agent.clone(),
            caller_packets: self.packets.0,
            callee_packets: self.packets.1,
        })
    }
}

/// Who calls whom.
pub struct Party {
    pub number: Arc<str>,
    pub name: Box<str>,
    pub dialled: Arc<str>,
    pub user_agent: Box<str>,
    pub max_forwards: u8,
    pub sips: bool,
    pub carried: Vec<(&'static str, Box<str>)>,
}
