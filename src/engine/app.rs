//! What a feature is: a state machine over the legs of a call. It is told what happens, reads the world through [`Cx`], and
//! asks for actions; the engine applies them after the app returns. A panicking app ends its own call and harms no other.

use crate::base::cause::Cause;
use crate::base::ids::LegId;
use crate::directory::Tenant;
use crate::engine::config::EngineConfig;
use crate::engine::record::Binding;
use std::sync::Arc;
use std::time::Duration;

pub trait App: Send {
    fn on(&mut self, cx: &mut Cx<'_>, event: &AppEvent) -> Next;

    /// The app and its state in words, for traces and audits.
    fn text(&self) -> String;
}

/// What an app is told.
#[derive(Debug)]
pub enum AppEvent {
    /// The call has begun and is the app's.
    Start,
    /// A dialled leg progresses; `media`: it may be heard.
    Progress {
        leg: LegId,
        status: u16,
        media: bool,
    },
    Answered {
        leg: LegId,
    },
    /// A dialled leg was refused, with the URIs of a 3xx.
    Refused {
        leg: LegId,
        status: u16,
        cause: Cause,
        contacts: Vec<Box<[u8]>>,
    },
    /// A leg is gone: it hung up, gave up or was lost.
    Ended {
        leg: LegId,
        cause: Cause,
    },
    /// A timer the app asked for.
    Timer {
        tag: u32,
    },
}

/// What becomes of the app.
pub enum Next {
    Stay,
    /// Another app takes the call over, beginning with `Start`.
    Become(Box<dyn App>),
    /// The call ends.
    Finish(Cause),
}

/// What an app asks for.
pub enum Action {
    /// Call a contact; events come under `leg`.
    Dial {
        leg: LegId,
        binding: Arc<Binding>,
    },
    /// Tell the caller how it goes; with `heard`, let it hear that leg.
    Progress {
        status: u16,
        heard: Option<LegId>,
    },
    /// Answer the caller and connect it with the answered leg.
    Connect {
        leg: LegId,
    },
    Drop {
        leg: LegId,
        cause: Cause,
    },
    Timer {
        tag: u32,
        after: Duration,
    },
    StopTimer {
        tag: u32,
    },
    /// A line in the call's trace.
    Decide(Box<str>),
    /// What the refusal says in its Reason header.
    Explain(Box<str>),
}

/// Finds the contacts of an extension; the registrar's face towards apps.
pub trait Contacts {
    /// Live contacts, best first: higher q, then newest.
    fn contacts(&self, tenant: &Tenant, extension: &str) -> Vec<Arc<Binding>>;

    /// How many more can't be called until their phones connect again after our restart.
    fn awaiting(&self, tenant: &Tenant, extension: &str) -> usize;
}

/// The world as an app sees it.
pub struct Cx<'a> {
    pub config: &'a EngineConfig,
    pub tenant: &'a Tenant,
    /// The calling extension.
    pub from: &'a str,
    /// What it dialled.
    pub dialled: &'a str,
    pub caller: LegId,
    /// The caller dialled a `sips:` URI: `contacts` are those on TLS.
    pub sips: bool,
    pub contacts: &'a dyn Contacts,
    pub(super) next_leg: &'a mut u64,
    pub(super) actions: Vec<Action>,
}

impl Cx<'_> {
    /// Calls a contact.
    pub fn dial(&mut self, binding: Arc<Binding>) -> LegId {
        let leg = LegId(*self.next_leg);
        *self.next_leg += 1;
        self.actions.push(Action::Dial { leg, binding });
        leg
    }

    pub fn ask(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub fn decide(&mut self, text: impl Into<Box<str>>) {
        self.actions.push(Action::Decide(text.into()));
    }
}
