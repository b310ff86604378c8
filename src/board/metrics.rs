//! The daemon's figures in the OpenMetrics text format, made anew at each scrape from the board and the process.
//!
//! Nothing is counted here: the board counts, and other parts hand their figures in as [`Figure`]s.

use super::process;
use super::{Board, live::Totals};
use crate::base::cause::Cause;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A figure of another part: its journal, its sockets, its ports.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Without the `strowger_` in front and the `_total` behind.
    pub name: &'static str,
    pub help: &'static str,
    pub value: Value,
}

#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    Gauge(f64),
}

/// Reads other parts' figures; called at each scrape.
pub type Figures = Box<dyn Fn() -> Vec<Figure> + Send + Sync>;

pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub fn new(board: Arc<Board>, figures: Figures) -> Metrics {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Source { board, figures, started }));
        Metrics { registry }
    }

    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(8 * 1024);
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

struct Source {
    board: Arc<Board>,
    figures: Figures,
    /// Seconds since 1970.
    started: f64,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Collector for Source {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page { encoder };
        self.calls(&mut page)?;
        self.process(&mut page)?;
        for figure in (self.figures)() {
            let name = format!("strowger_{}", figure.name);
            match figure.value {
                Value::Counter(value) => page.counter(&name, figure.help, value)?,
                Value::Gauge(value) => page.gauge(&name, figure.help, value)?,
            }
        }
        Ok(())
    }
}

impl Source {
    fn calls(&self, page: &mut Page<'_>) -> fmt::Result {
        let (totals, active, (extensions, contacts)) = {
            let live = self.board.live();
            (live.totals().clone(), live.active_calls(), live.registrations())
        };
        let (traces, trace_bytes) = self.board.trace_use();
        let Totals { calls_started, calls_answered, calls_forgotten, contacts_added, contacts_removed, media, .. } =
            totals;
        page.counter("strowger_calls_started", "Calls admitted", calls_started)?;
        page.counter("strowger_calls_answered", "Calls answered", calls_answered)?;
        page.by_cause("strowger_calls_ended", "Calls ended, by hang-up cause", &totals.calls_ended)?;
        let help = "Calls whose end was among lost events";
        page.counter("strowger_calls_forgotten", help, calls_forgotten)?;
        page.by_cause("strowger_refused", "Requests refused outside any call, by cause", &totals.refused)?;
        page.gauge("strowger_calls_active", "Calls going on", active as f64)?;
        page.gauge("strowger_registered_extensions", "Extensions with a contact", extensions as f64)?;
        page.gauge("strowger_contacts", "Contacts bound", contacts as f64)?;
        page.counter("strowger_contacts_added", "Contacts bound since the start", contacts_added)?;
        page.counter("strowger_contacts_removed", "Contacts removed or run out", contacts_removed)?;
        page.counter("strowger_rtp_received_packets", "RTP packets received from parties", media.received)?;
        page.counter("strowger_rtp_received_bytes", "RTP bytes received from parties", media.received_bytes)?;
        page.counter("strowger_rtp_sent_packets", "RTP packets sent to parties", media.sent)?;
        page.counter("strowger_rtp_sent_bytes", "RTP bytes sent to parties", media.sent_bytes)?;
        page.counter("strowger_rtp_dropped_packets", "RTP packets received and not forwarded", media.dropped)?;
        page.counter("strowger_rtp_lost_packets", "RTP packets that never came", media.lost)?;
        page.counter("strowger_rtcp_packets", "RTCP packets received and forwarded", media.rtcp)?;
        page.counter("strowger_events_lost", "Events that never reached the board", self.board.lost_events())?;
        page.gauge("strowger_traces", "Calls whose trace is kept", traces as f64)?;
        page.gauge("strowger_trace_bytes", "Memory of the kept traces", trace_bytes as f64)
    }

    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge("process_start_time_seconds", "Start of the process, Unix time", self.started)?;
        if let Some(cpu) = process::cpu() {
            page.counter("process_cpu_seconds", "CPU time of all threads", cpu.as_secs_f64())?;
        }
        if let Some(bytes) = process::resident() {
            page.gauge("process_resident_memory_bytes", "Resident memory", bytes as f64)?;
        }
        if let Some(count) = process::descriptors() {
            page.gauge("process_open_fds", "Open file descriptors", count as f64)?;
        }
        page.write("strowger_build", "This build", &Info::new([("version", env!("CARGO_PKG_VERSION"))]))
    }
}

struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn write(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    fn counter<N>(&mut self, name: &str, help: &str, value: N) -> fmt::Result
    where
        ConstCounter<N>: EncodeMetric,
    {
        self.write(name, help, &ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.write(name, help, &ConstGauge::new(value))
    }

    fn by_cause(&mut self, name: &str, help: &str, counts: &BTreeMap<Cause, u64>) -> fmt::Result {
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (cause, count) in counts {
            ConstCounter::new(*count).encode(family.encode_family(&[("cause", cause.text())])?)?;
        }
        Ok(())
    }
}
