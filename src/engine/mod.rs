//! The call engine: a sans-IO single writer. `handle` takes one input at a time and says what is to be done; `deadline` says
//! when it wants to be woken. This file only routes: each machine is its own file.
//!
//! Invariants: no clock, socket, file, random source or environment variable is read; the same seed and inputs give the same
//! outputs; a step leaves no leg without a call and no dialog key without a leg.

pub mod app;
pub mod audit;
pub mod auth;
mod body;
mod bridge;
mod call;
pub mod config;
pub mod core;
mod dialog;
mod door;
pub mod event;
pub mod flow;
mod invite;
pub mod io;
mod leg;
pub mod media;
pub mod negotiate;
mod ports;
pub mod record;
pub mod registrar;
mod relay;
mod settle;
pub mod target;
mod transaction;
mod waiting;

use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, RecordSeq};
use crate::base::map::{Map, Seeded};
use crate::base::now::{Micros, Now};
use crate::base::rng::Rng;
use crate::directory::{Directory, Tenant};
use app::{App, AppEvent};
use auth::Auth;
use call::Call;
use config::EngineConfig;
use core::{Core, TimerKey};
use event::EventBody;
use io::{Command, CommandResult, Input, Output};
use leg::{Leg, LegEvent};
use media::{Counters, Grant, MediaEvent};
use ports::Ports;
use registrar::Registrar;
use relay::{Answer, Relay};
use settle::SETTLE;
use std::collections::BTreeMap;
use std::sync::Arc;
use transaction::{Happening, Owner};
use waiting::Waiting;

/// Makes the app a dialled number begins with. Given to the engine, which knows no features.
pub type StartApp = fn(&Tenant, &str) -> Box<dyn App>;

pub struct Engine {
    core: Core,
    directory: Arc<Directory>,
    start_app: StartApp,
    auth: Auth,
    registrar: Registrar,
    /// Boxed: a leg has its 2 KiB once, and not for each free place of the table too.
    legs: Map<LegId, Box<Leg>>,
    calls: BTreeMap<CallId, Call>,
    ports: Ports,
    relays: Map<u64, Relay>,
    /// What waits for the journal, by its last record.
    waiting: BTreeMap<RecordSeq, Waiting>,
    draining: bool,
    records_refused: bool,
    next_call: u64,
    next_leg: u64,
    next_relay: u64,
}

impl Engine {
    /// `seed` comes from the operating system; only the simulation fixes it.
    pub fn new(config: EngineConfig, seed: [u8; 32], directory: Arc<Directory>, start_app: StartApp) -> Engine {
        let mut rng = Rng::new(seed);
        let seeded = Seeded::new(&mut rng);
        Engine {
            auth: Auth::new(&mut rng, config.auth.clone()),
            registrar: Registrar::new(config.registration, config.limits.bindings),
            core: Core::new(config, rng),
            directory,
            start_app,
            legs: Map::with_hasher(seeded.clone()),
            calls: BTreeMap::new(),
            ports: Ports::default(),
            relays: Map::with_hasher(seeded),
            waiting: BTreeMap::new(),
            draining: false,
            records_refused: false,
            next_call: 1,
            next_leg: 1,
            next_relay: 1,
        }
    }

    /// Handles one input; what is to be done is appended to `out`, in order.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        std::mem::swap(&mut self.core.io.out, out);
        self.core.io.now = now;
        self.fire_timers();
        match input {
            Input::Sip { flow, message } => self.on_sip(flow, message),
            Input::FlowClosed { connection } => self.on_flow_closed(connection),
            Input::SendFailed { key } => {
                let happening = self.core.tx.send_failed(&mut self.core.io, key);
                self.on_happening(happening);
            }
            Input::Command { token, command } => {
                self.on_command(command);
                self.core.io.out.push(Output::Done { token, result: CommandResult::Done });
            }
            Input::Media(event) => self.on_media(event),
            Input::Recorded { upto, kept } => self.on_recorded(upto, kept),
            Input::RecordsRefused(refused) => self.records_refused = refused,
            Input::Directory(directory) => self.on_directory(directory),
            Input::Restore(bindings) => self.on_restore(bindings),
            Input::Timeout => {}
        }
        self.listen_to_legs();
        std::mem::swap(&mut self.core.io.out, out);
    }

    /// When `Input::Timeout` is due at the latest.
    pub fn deadline(&self) -> Option<Micros> {
        let timers = self.core.io.timers.deadline();
        let bindings = self.registrar_deadline();
        timers.into_iter().chain(bindings).min()
    }

    /// Whether a call or an answer is held back until the journal has its record: then `Input::Recorded` is urgent.
    pub fn awaits_records(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn fire_timers(&mut self) {
        while let Some(key) = self.core.io.timers.pop(self.core.io.now.mono) {
            match key {
                TimerKey::Retransmit(id) => self.core.tx.retransmit(&mut self.core.io, id),
                TimerKey::Expire(id) => {
                    let happening = self.core.tx.expire(&mut self.core.io, id);
                    self.on_happening(happening);
                }
                TimerKey::Leg(id, timer) => {
                    if let Some(leg) = self.legs.get_mut(&id) {
                        leg.on_timer(&mut self.core, timer);
                    }
                }
                TimerKey::App(call, tag) => {
                    if let Some(call) = self.calls.get_mut(&call) {
                        call.timers.retain(|(other, _)| *other != tag);
                    }
                    self.run_app(call, AppEvent::Timer { tag });
                }
                TimerKey::Settle(call) => self.settle(call, true),
            }
            self.listen_to_legs();
        }
        self.expire_bindings();
    }

    fn on_happening(&mut self, happening: Happening) {
        match happening {
            Happening::Nothing => {}
            Happening::Request { tx, flow, message } => self.on_request(tx, flow, &message),
            Happening::Cancel { tx, owner, flow, message } => match owner {
                Owner::Leg(id) if self.legs.contains_key(&id) => {
                    let Some(leg) = self.legs.get_mut(&id) else { return };
                    self.core.io.trace_received(leg.call, id, &leg.flow, &message);
                    leg.on_cancel(&mut self.core, tx, &message);
                }
                _ => self.core.refuse(tx, &message, &flow, 200),
            },
            Happening::Ack { flow, message } => self.on_ack(flow, &message),
            Happening::Response { tx, owner, flow, message } => match owner {
                Owner::Leg(id) => {
                    if let Some(leg) = self.legs.get_mut(&id) {
                        self.core.io.trace_received(leg.call, id, &leg.flow, &message);
                        leg.on_response(&mut self.core, tx, &message);
                    } else {
                        self.on_orphan(tx, &message, &flow);
                    }
                }
                Owner::Relay(id) => self.relay_answered(id, Answer::of(&message)),
                Owner::Nobody => {}
            },
            Happening::Stray { flow, message } => self.on_stray(&flow, &message),
            Happening::GaveUp { tx, owner, cause } => match owner {
                Owner::Leg(id) => {
                    if let Some(leg) = self.legs.get_mut(&id) {
                        leg.on_gave_up(&mut self.core, tx, cause);
                    }
                }
                Owner::Relay(id) => {
                    self.relay_answered(id, Answer::bare(if cause == Cause::FlowFailed { 503 } else { 408 }));
                }
                Owner::Nobody => {}
            },
        }
    }

    /// What legs said goes to their calls, until nobody has anything more to say.
    fn listen_to_legs(&mut self) {
        while let Some((leg, event)) = self.core.said.pop_front() {
            let Some(call) = self.legs.get(&leg).map(|leg| leg.call) else { continue };
            self.on_leg_event(call, leg, event);
        }
    }

    fn on_leg_event(&mut self, call: CallId, leg: LegId, event: LegEvent) {
        match event {
            LegEvent::Progress { status, media } => self.run_app(call, AppEvent::Progress { leg, status, media }),
            LegEvent::Answered => self.run_app(call, AppEvent::Answered { leg }),
            LegEvent::Refused { status, cause, contacts } => {
                self.release_ports(leg);
                self.run_app(call, AppEvent::Refused { leg, status, cause, contacts });
            }
            LegEvent::Cancelled { reason } => {
                self.release_ports(leg);
                self.caller_gave_up(call, reason);
                self.run_app(call, AppEvent::Ended { leg, cause: Cause::Cancelled });
            }
            LegEvent::Acked => self.mend(call),
            LegEvent::Offered => self.on_offered(call, leg),
            LegEvent::AskedForOffer => self.on_asked_for_offer(call, leg),
            LegEvent::Withdrawn { reason } => self.on_withdrawn(call, leg, reason),
            LegEvent::Accepted => self.on_accepted(call, leg),
            LegEvent::OfferRefused { status } => self.on_offer_refused(call, leg, status),
            LegEvent::Refreshed => {
                self.rewire(call);
                self.mend(call);
            }
            LegEvent::Turned => self.on_turned(call, leg),
            LegEvent::OfferAgain => self.offer_own(call, leg),
            LegEvent::Carry { tx, message } => self.carry(call, leg, tx, &message),
            LegEvent::Carried { to, tx, request, answer } => {
                if let Some(leg) = self.legs.get_mut(&to) {
                    leg.carried(&mut self.core, tx, &request, &answer);
                } else if let Some(flow) = self.core.tx.flow_of(tx) {
                    // Whoever sent it has hung up meanwhile, and still waits for the answer.
                    self.core.pass_on(tx, &request, &flow, &answer);
                }
            }
            LegEvent::Ended { cause } => {
                if self.legs.get(&leg).is_some_and(|leg| leg.is_unanswered())
                    && let Some(call) = self.calls.get_mut(&call)
                {
                    call.take_back_answer();
                }
                self.drop_leg(leg, cause);
                self.run_app(call, AppEvent::Ended { leg, cause });
            }
            LegEvent::Closed => self.remove_leg(call, leg),
        }
    }

    /// Phones that ring for the call are told why in the caller's words.
    fn caller_gave_up(&mut self, call: CallId, reason: Option<Box<str>>) {
        let Some(call) = self.calls.get_mut(&call) else { return };
        call.take_back_answer();
        for id in &call.legs {
            if let Some(leg) = self.legs.get_mut(id) {
                leg.because(reason.clone());
            }
        }
    }

    fn on_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Granted { port, rtp } => self.ports.grant(Grant { port, rtp }),
            MediaEvent::Latched { port, from } => {
                if let Some(user) = self.ports.user(port) {
                    self.core.io.decide(user.call, format!("leg {}: media comes from {from}", user.leg));
                }
            }
            MediaEvent::Counted { port, counters } => {
                if let Some(user) = self.ports.user(port) {
                    self.core.io.event(EventBody::Media { call: user.call, leg: user.leg, counters });
                }
            }
            MediaEvent::Released { port, counters } => {
                if let Some(user) = self.ports.released(port) {
                    self.on_released(user, counters);
                }
            }
        }
    }

    fn on_released(&mut self, user: ports::User, counters: Counters) {
        let Some(call) = self.calls.get_mut(&user.call) else { return };
        call.leaving = call.leaving.saturating_sub(1);
        if user.leg == call.caller {
            call.packets.0 += counters.received;
        } else if call.pair.is_some_and(|(_, callee)| callee == user.leg) {
            call.packets.1 += counters.received;
        }
        self.core.io.event(EventBody::Media { call: user.call, leg: user.leg, counters });
        self.settle(user.call, false);
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Drain => self.draining = true,
            Command::HangUpAll { cause } => {
                let calls: Vec<CallId> = self.calls.keys().copied().collect();
                for call in calls {
                    self.finish(call, cause);
                }
            }
            Command::Snapshot => self.tell_everything(),
        }
    }
}
