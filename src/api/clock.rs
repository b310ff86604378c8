//! Times as this API shows them: the tenant's local time, ISO 8601 without offset. All stored times are UTC.

use super::State;
use super::error::ApiError;
use crate::base::now::Timestamp;
use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use std::ops::Range;

/// A tenant's time zone.
pub struct Clock(TimeZone);

impl Clock {
    /// The clock of the tenant whose API this is.
    pub async fn of(state: &State) -> Result<Clock, ApiError> {
        let tenants = state.store.tenants().await?;
        let tenant = tenants.iter().find(|tenant| tenant.id == state.tenant);
        Clock::of_zone(tenant.map_or("UTC", |tenant| &tenant.time_zone))
    }

    /// `zone` is an IANA name, such as `Europe/Berlin`.
    pub fn of_zone(zone: &str) -> Result<Clock, ApiError> {
        let zone =
            TimeZone::get(zone).map_err(|e| ApiError::internal(format!("The tenant's time zone is no good: {e}")))?;
        Ok(Clock(zone))
    }

    /// `2024-01-15T10:00:00`
    pub fn second(&self, at: Timestamp) -> String {
        self.civil(at).strftime("%Y-%m-%dT%H:%M:%S").to_string()
    }

    /// `2024-01-15T10:00:00.000000`
    pub fn micro(&self, at: Timestamp) -> String {
        self.civil(at).strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()
    }

    /// `10:00:00.000`
    pub fn time_of_day(&self, at: Timestamp) -> String {
        self.civil(at).strftime("%H:%M:%S.%3f").to_string()
    }

    pub fn today(&self) -> Date {
        jiff::Timestamp::now().to_zoned(self.0.clone()).date()
    }

    /// From the first moment of the day to the first of the next: 23 to 25 hours where clocks are changed.
    pub fn day(&self, date: Date) -> Result<Range<Timestamp>, ApiError> {
        let start =
            |date: Date| date.to_zoned(self.0.clone()).map(|zoned| Timestamp(zoned.timestamp().as_microsecond()));
        let next = date.checked_add(1.day());
        let range = next.and_then(|next| Ok(start(date)?..start(next)?));
        range.map_err(|_| ApiError::bad_request(format!("`date` is out of range: {date}")))
    }

    fn civil(&self, at: Timestamp) -> DateTime {
        // What no calendar holds is shown as the epoch: a record is shown in any case.
        let at = jiff::Timestamp::from_microsecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        self.0.to_datetime(at)
    }
}

/// `YYYY-MM-DD` and nothing else.
pub fn parse_date(text: &str) -> Result<Date, ApiError> {
    // The library would take a sign for the first digit of the year.
    let plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-') && !text.starts_with('-');
    let date = if plain { Date::strptime("%Y-%m-%d", text).ok() } else { None };
    date.ok_or_else(|| ApiError::bad_request(format!("`date` must be a day in the form YYYY-MM-DD, not `{text}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-03-31T00:30:00Z, half an hour before Berlin's clocks went forward.
    const SPRING: Timestamp = Timestamp(1_711_845_000_123_456);

    #[test]
    fn times_are_local_and_without_offset() {
        let berlin = Clock::of_zone("Europe/Berlin").unwrap();
        assert_eq!(berlin.second(SPRING), "2024-03-31T01:30:00");
        assert_eq!(berlin.micro(SPRING), "2024-03-31T01:30:00.123456");
        assert_eq!(berlin.time_of_day(SPRING), "01:30:00.123");
        assert_eq!(Clock::of_zone("America/New_York").unwrap().second(SPRING), "2024-03-30T20:30:00");
    }

    #[test]
    fn a_day_is_as_long_as_the_zone_makes_it() {
        let berlin = Clock::of_zone("Europe/Berlin").unwrap();
        let hours = |date| {
            let day = berlin.day(parse_date(date).unwrap()).unwrap();
            (day.end.0 - day.start.0) / 3_600_000_000
        };
        assert_eq!([hours("2024-03-31"), hours("2024-10-27"), hours("2024-01-15")], [23, 25, 24]);
        let utc = Clock::of_zone("UTC").unwrap().day(parse_date("2024-01-15").unwrap()).unwrap();
        assert_eq!(utc, Timestamp(1_705_276_800_000_000)..Timestamp(1_705_363_200_000_000));
    }

    #[test]
    fn only_real_days_in_the_documented_form_are_dates() {
        for text in [
            "",
            "today",
            "2024-1-15",
            "2024-13-01",
            "2024-02-30",
            "20240115",
            "2024-01-15T",
            "15.01.2024",
            "2024-01-1 ",
            "-001-01-01",
            "+001-01-01",
        ] {
            assert!(parse_date(text).is_err(), "{text}");
        }
        assert!(parse_date("2024-02-29").is_ok());
    }
}
