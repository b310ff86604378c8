//! The one cause table: why a call or leg did not happen or ended, and how each protocol says it.
//!
//! SIP statuses: RFC 3261 §21. Q.850 causes: ITU-T Q.850 table 1, mapped as RFC 3398 §7.2.4.1 and §8.2.6.1.

/// Why something ended or was refused. The order is the table's order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Cause {
    /// A party hung up an answered call.
    Normal,
    /// The caller gave up before an answer.
    Cancelled,
    /// Another contact or party answered first.
    AnsweredElsewhere,
    Busy,
    /// Rang until the time-out.
    NoAnswer,
    /// A person refused the call (603, or 480/486 by a decline key).
    Declined,
    /// The called phone sends its calls elsewhere (3xx), and they may not or can't follow.
    Redirected,
    /// The extension exists but nothing is registered for it.
    NotRegistered,
    /// No such number in this tenant.
    UnknownNumber,
    /// The party is not allowed to do that.
    Forbidden,
    /// Credentials missing or wrong.
    Unauthorized,
    /// The request can't be understood.
    BadRequest,
    /// No common codec or unacceptable SDP.
    NotAcceptable,
    /// The body's type is not one we read.
    UnsupportedMedia,
    /// The dialled number leads to a feature this version does not have.
    NotImplemented,
    /// Max-Forwards ran out, or the call came back to us.
    Loop,
    /// The peer did not answer a request in time.
    RequestTimeout,
    /// The party stopped refreshing its session (RFC 4028).
    SessionExpired,
    /// The connection to the party broke.
    FlowFailed,
    /// The party answered with an error no other row names.
    RemoteError,
    /// A limit is reached: new work is shed.
    Congestion,
    /// The daemon is draining.
    Draining,
    /// The disk and the database refuse records.
    NoRecords,
    /// The daemon was killed or restarted during the call.
    Restart,
    /// A defect of ours ended the call.
    Internal,
}

/// The CDR's disposition (REST API: `answered, no_answer, busy, failed, cancelled`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    Answered,
    NoAnswer,
    Busy,
    Failed,
    Cancelled,
}

impl Disposition {
    pub fn text(self) -> &'static str {
        match self {
            Disposition::Answered => "answered",
            Disposition::NoAnswer => "no_answer",
            Disposition::Busy => "busy",
            Disposition::Failed => "failed",
            Disposition::Cancelled => "cancelled",
        }
    }
}

/// One row: how each protocol says a cause.
pub struct Row {
    /// SIP final status for a request refused with it.
    pub status: u16,
    /// SIP reason phrase.
    pub phrase: &'static str,
    /// Q.850 cause value of `Reason: Q.850;cause=`.
    pub q850: u8,
    /// CDR `hangup_cause` and API code.
    pub text: &'static str,
    /// CDR disposition of a call that was never answered.
    pub disposition: Disposition,
}

const fn row(status: u16, phrase: &'static str, q850: u8, text: &'static str, disposition: Disposition) -> Row {
    Row { status, phrase, q850, text, disposition }
}

impl Cause {
    /// Every cause, in the table's order.
    pub const ALL: [Cause; 25] = {
        use Cause::*;
        [
            Normal,
            Cancelled,
            AnsweredElsewhere,
            Busy,
            NoAnswer,
            Declined,
            Redirected,
            NotRegistered,
            UnknownNumber,
            Forbidden,
            Unauthorized,
            BadRequest,
            NotAcceptable,
            UnsupportedMedia,
            NotImplemented,
            Loop,
            RequestTimeout,
            SessionExpired,
            FlowFailed,
            RemoteError,
            Congestion,
            Draining,
            NoRecords,
            Restart,
            Internal,
        ]
    };

    /// The cause whose CDR text this is.
    pub fn of_text(text: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.text() == text)
    }

    pub const fn row(self) -> Row {
        use Disposition::*;
        match self {
            Cause::Normal => row(200, "OK", 16, "normal", Answered),
            Cause::Cancelled => row(487, "Request Terminated", 16, "cancelled", Cancelled),
            Cause::AnsweredElsewhere => row(487, "Request Terminated", 26, "answered_elsewhere", Cancelled),
            Cause::Busy => row(486, "Busy Here", 17, "busy", Busy),
            Cause::NoAnswer => row(480, "Temporarily Unavailable", 19, "no_answer", NoAnswer),
            Cause::Declined => row(603, "Decline", 21, "declined", Failed),
            Cause::Redirected => row(480, "Temporarily Unavailable", 23, "redirected", Failed),
            Cause::NotRegistered => row(480, "Temporarily Unavailable", 20, "not_registered", Failed),
            Cause::UnknownNumber => row(404, "Not Found", 1, "unknown_number", Failed),
            Cause::Forbidden => row(403, "Forbidden", 21, "forbidden", Failed),
            Cause::Unauthorized => row(401, "Unauthorized", 21, "unauthorized", Failed),
            Cause::BadRequest => row(400, "Bad Request", 95, "bad_request", Failed),
            Cause::NotAcceptable => row(488, "Not Acceptable Here", 65, "not_acceptable", Failed),
            Cause::UnsupportedMedia => row(415, "Unsupported Media Type", 79, "unsupported_media", Failed),
            Cause::NotImplemented => row(501, "Not Implemented", 79, "not_implemented", Failed),
            Cause::Loop => row(483, "Too Many Hops", 25, "loop", Failed),
            Cause::RequestTimeout => row(408, "Request Timeout", 102, "timeout", Failed),
            Cause::SessionExpired => row(408, "Request Timeout", 102, "session_expired", Failed),
            Cause::FlowFailed => row(480, "Temporarily Unavailable", 27, "flow_failed", Failed),
            Cause::RemoteError => row(500, "Server Internal Error", 41, "remote_error", Failed),
            Cause::Congestion => row(503, "Service Unavailable", 42, "congestion", Failed),
            Cause::Draining => row(503, "Service Unavailable", 42, "draining", Failed),
            Cause::NoRecords => row(503, "Service Unavailable", 42, "no_records", Failed),
            Cause::Restart => row(500, "Server Internal Error", 41, "restart", Failed),
            Cause::Internal => row(500, "Server Internal Error", 41, "internal", Failed),
        }
    }

    pub fn status(self) -> u16 {
        self.row().status
    }

    pub fn phrase(self) -> &'static str {
        self.row().phrase
    }

    pub fn q850(self) -> u8 {
        self.row().q850
    }

    /// CDR `hangup_cause` and API code.
    pub fn text(self) -> &'static str {
        self.row().text
    }

    /// The disposition of the call's record, given whether it was answered.
    pub fn disposition(self, answered: bool) -> Disposition {
        if answered { Disposition::Answered } else { self.row().disposition }
    }

    /// The cause a final SIP status of 300 or more from a called party stands for (RFC 3398 §8.2.6.1).
    pub fn of_status(status: u16) -> Cause {
        match status {
            300..=399 => Cause::Redirected,
            401 | 407 | 403 => Cause::Forbidden,
            404 | 410 | 484 | 485 | 604 => Cause::UnknownNumber,
            408 => Cause::NoAnswer,
            415 => Cause::UnsupportedMedia,
            480 => Cause::NoAnswer,
            482 | 483 => Cause::Loop,
            486 | 600 => Cause::Busy,
            487 => Cause::Cancelled,
            488 | 606 => Cause::NotAcceptable,
            503 => Cause::Congestion,
            603 | 607 | 608 => Cause::Declined,
            _ => Cause::RemoteError,
        }
    }
}

/// The standard phrase of a SIP status (RFC 3261 §21 and its registry); a generic one for others.
pub fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match status / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_listed_once_and_known_by_its_text() {
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place, "{cause:?} is out of place or missing in ALL");
            assert_eq!(Cause::of_text(cause.text()), Some(cause));
        }
        assert_eq!(Cause::Internal as usize + 1, Cause::ALL.len(), "the last cause is not in ALL");
        assert_eq!(Cause::of_text("Normal"), None);
    }
}
